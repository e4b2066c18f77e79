/** Properties of any aggregate, checked with values that are generated from its own schemas. */
import { Arbitrary, Cause, Effect, Exit, Formatter, Schema, SchemaAST } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Decision from "../../Decision.ts"
import * as Evolution from "../../Evolution.ts"
import type { CompiledEvent } from "../../internal/aggregate/compiled.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import { decode } from "../../internal/eventStore/codecs.ts"
import { toDecision } from "../../internal/repository/command.ts"
import type * as Repository from "../../Repository.ts"
import * as Transcoder from "../../Transcoder.ts"
import { difference, isSame, show } from "../internal/compare.ts"
import { applyOne, areSameStates, foldAll, fromSnapshot, recordable, snapshotOf } from "../internal/recording.ts"
import { take } from "../internal/taking.ts"
import { inWorld } from "../internal/world.ts"

/** The source of generated values: a schema, or an `Arbitrary`. */
export type Source<A> = Schema.Schema<A> | Arbitrary.Arbitrary<A>

/** A decision whose arguments are generated. */
export interface Generated<out C> {
  readonly inputs: Arbitrary.Arbitrary<ReadonlyArray<unknown>>
  readonly decide: (inputs: ReadonlyArray<unknown>) => C
}

/**
 * A function that returns a decision, and what its arguments are generated from.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate } from "effect-eventsourcing"
 * import { generated, testAggregate } from "effect-eventsourcing/testing/vitest"
 *
 * const Counter = Aggregate.make("Counter", {
 *   state: Schema.BigInt,
 *   creation: { Started: {} },
 *   events: { Increased: { by: Schema.BigInt } },
 *   reduce: { Started: () => 0n, Increased: (count, { by }) => count + by }
 * })
 * const increase = (by: bigint) => Counter.decide(() => Counter.Increased({ by }))
 *
 * testAggregate(Counter, { decisions: { increase: generated(increase, Schema.BigInt) } })
 * ```
 */
export const generated = <Args extends ReadonlyArray<unknown>, C>(
  decide: (...args: Args) => C,
  ...inputs: { readonly [I in keyof Args]: Source<Args[I]> }
): Generated<C> => ({
  inputs: Arbitrary.all(inputs.map((input) => arbitraryOf<unknown>(input as Source<unknown>))),
  decide: (values) => decide(...(values as Args))
})

/** The fields of an event. */
type PayloadOf<E> = E extends unknown ? { readonly [K in keyof E as K extends "_tag" ? never : K]: E[K] } : never

/** How the properties of an aggregate are checked. */
export interface Options<A extends Aggregate.Any> {
  /** Decisions, by the names that their tests get; with {@link generated} if they have arguments. */
  readonly decisions?: { readonly [name: string]: Repository.Command<A> | Generated<Repository.Command<A>> }
  /**
   * Whether an event can follow a state. Default: each event that changes the aggregate can follow any state. Generated
   * histories have only events that can follow, and decisions must record no others.
   */
  readonly canFollow?: (state: Aggregate.StateOf<A>, event: Aggregate.ChangeOf<A>) => boolean
  /** What the fields of an event are generated from, instead of its schema. */
  readonly payloads?: {
    readonly [Tag in Aggregate.Event<A>["_tag"]]?: Source<
      PayloadOf<Extract<Aggregate.Event<A>, { readonly _tag: Tag }>>
    >
  }
  /** The most events in a generated history. Default 20. */
  readonly maxEvents?: number
  /** Options of Effect's property tests: how often each property is checked (`runs`, default 100), `seed`, `replay`. */
  readonly arbitrary?: Arbitrary.CheckOptions
}

/** A property: the values that it is checked with, and how. A check that throws is a counterexample. */
export interface Property {
  readonly name: string
  /** The name of the generated value in a counterexample. */
  readonly input: string
  /** Throws if values can't be generated. */
  readonly arbitrary: () => Arbitrary.Arbitrary<unknown>
  readonly check: (value: unknown) => Effect.Effect<void>
}

const property = <V>(
  name: string,
  input: string,
  arbitrary: () => Arbitrary.Arbitrary<V>,
  check: (value: V) => void | Effect.Effect<void>
): Property => ({
  name,
  input,
  arbitrary,
  check: (value) =>
    Effect.catchDefect(
      Effect.suspend(() => check(value as V) ?? Effect.void),
      (defect) => Effect.die(withUsersFrames(defect))
    )
})

/** The path of this library's code, as it appears in a stack. */
const LIBRARY = decodeURI(new URL("../../", import.meta.url).pathname)

/** An error whose stack shows the code of the aggregate, if that threw, and not the code that checks it. */
const withUsersFrames = (defect: unknown): unknown => {
  if (!(defect instanceof Error)) return defect
  let thrown: Error = defect
  while (thrown.cause instanceof Error) thrown = thrown.cause
  const error = new Error(defect.message)
  const head = `${error.name}: ${error.message}`
  const frames = thrown === defect ? [] : (thrown.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line))
  const end = frames.findIndex((line) => line.includes(LIBRARY))
  error.stack = [head, ...(end === -1 ? frames : frames.slice(0, end))].join("\n")
  return error
}

const arbitraryOf = <A>(source: Source<A>): Arbitrary.Arbitrary<A> =>
  Arbitrary.isArbitrary(source) ? (source as Arbitrary.Arbitrary<A>) : Arbitrary.schema(source as Schema.Schema<A>)

/** The properties of an aggregate. */
export const propertiesOf = <A extends Aggregate.Any>(
  aggregate: A,
  options: Options<A> = {}
): ReadonlyArray<Property> => {
  const { name, compiled } = aggregate
  const { decisions = {}, maxEvents = 20 } = options
  const canFollow = options.canFollow as ((state: unknown, event: Aggregate.AnyEvent) => boolean) | undefined
  const payloads = (options.payloads ?? {}) as Readonly<Record<string, Source<object> | undefined>>
  const all = [...compiled.byTag.values()]

  const eventOf = ({ tag, codec, construct }: CompiledEvent): Arbitrary.Arbitrary<Aggregate.AnyEvent> =>
    Arbitrary.map(
      withHint(`the fields of ${name}.${tag}`, `payloads: { ${tag}: ... }`, () => {
        const own = payloads[tag]
        return own === undefined ? valuesOf(codec.schemaOf(codec.version)) : arbitraryOf<unknown>(own)
      }),
      (payload) => construct(payload as object)
    )

  const oneOf = (events: ReadonlyArray<CompiledEvent>): Arbitrary.Arbitrary<Aggregate.AnyEvent> => {
    const arbitraries = new Map(events.map((event) => [event.tag, eventOf(event)]))
    const tags = Arbitrary.schema(Schema.Literals([...arbitraries.keys()]))
    return Arbitrary.flatMap(tags, (tag) => arbitraries.get(tag) as Arbitrary.Arbitrary<Aggregate.AnyEvent>)
  }

  /** Leaves out events that can't follow. Ends if a reducer throws: that is checked by another property. */
  const possible = (events: ReadonlyArray<Aggregate.AnyEvent>): ReadonlyArray<Aggregate.AnyEvent> => {
    if (canFollow === undefined) return events
    const kept: Array<Aggregate.AnyEvent> = []
    let state: unknown
    for (const event of events) {
      if (state !== undefined && !canFollow(state, event)) continue
      kept.push(event)
      try {
        state = applyOne(aggregate, state, event)
      } catch {
        return kept
      }
    }
    return kept
  }

  const histories = (): Arbitrary.Arbitrary<ReadonlyArray<Aggregate.AnyEvent>> => {
    const creation = oneOf(all.filter(({ creates }) => creates))
    const changing = all.filter(({ creates }) => !creates)
    if (changing.length === 0) return Arbitrary.map(creation, (event) => [event])
    const changes = Arbitrary.array(oneOf(changing), { maxLength: Math.max(maxEvents - 1, 0) })
    return Arbitrary.map(Arbitrary.all([creation, changes]), ([first, rest]) => possible([first, ...rest].map(asRead)))
  }

  /** An event as it is read. One that can't be recorded is not changed: that is checked by another property. */
  const asRead = (event: Aggregate.AnyEvent): Aggregate.AnyEvent => {
    try {
      return recordable(aggregate, firstVersionOf(event), [event])[0]?.event ?? event
    } catch {
      return event
    }
  }
  const firstVersionOf = ({ _tag }: Aggregate.AnyEvent): number => (compiled.byTag.get(_tag)?.creates === true ? 0 : 1)

  /** The states of a history, the first one after its first event; `undefined` if a reducer throws. */
  const statesOf = (history: ReadonlyArray<Aggregate.AnyEvent>): ReadonlyArray<unknown> | undefined => {
    try {
      const states: Array<unknown> = []
      for (const event of history) {
        // a reducer that changes its state must not change one that is compared later
        const state = compiled.copyState(states[states.length - 1])
        states.push(applyOne(aggregate, state, event))
      }
      return states
    } catch {
      return undefined
    }
  }

  const roundTrips = all.map((event) =>
    property(
      `${event.tag} round-trips through its encoding`,
      "event",
      () => eventOf(event),
      (value) => {
        recordable(aggregate, firstVersionOf(value), [value])
      }
    )
  )

  const upcasts = all.flatMap((event) =>
    upcastsOf(event.tag, `${name}.${event.tag}`, event.codec, (version, json) =>
      decode(aggregate, event.type, version, json)
    )
  )
  const stateUpcasts = upcastsOf("the state", `the state of ${name}`, compiled.state, compiled.state.decode)

  const ofHistories = all.some(({ creates }) => creates)
    ? [
        property("the reducers are total", "history", histories, (history) => {
          foldAll(aggregate, undefined, history)
        }),
        property("the reducers are pure", "history", histories, (history) => {
          let state: unknown
          for (const event of history) {
            const next = applyTwice(aggregate, state, event)
            if (next === undefined) return
            state = next
          }
        }),
        property("a state from a snapshot is the state from events", "history", histories, (history) => {
          const states = statesOf(history)
          const whole = states?.[states.length - 1]
          for (const [i, state] of (states ?? []).entries()) {
            const snapshot = fromSnapshot(aggregate, snapshotOf(aggregate, state))
            const rebuilt = foldAll(aggregate, snapshot, history.slice(i + 1))
            if (areSameStates(aggregate, whole, rebuilt)) continue
            throw new Error(
              `the state from a snapshot after event ${i} differs from the state from all events (- from events, + from the snapshot)\n${difference([show(whole)], [show(rebuilt)])}`
            )
          }
        }),
        ...Object.entries(decisions).map(([decision, of]) =>
          property(
            `${decision}: its events are accepted by the reducers`,
            "given",
            () =>
              Arbitrary.all({ history: histories(), arguments: isGenerated(of) ? of.inputs : Arbitrary.Constant([]) }),
            ({ history, arguments: inputs }) => {
              const command = isGenerated(of) ? of.decide(inputs) : of
              return checkDecision(aggregate, toDecision(aggregate, command), history, canFollow)
            }
          )
        )
      ]
    : []

  return [...roundTrips, ...upcasts, ...stateUpcasts, ...ofHistories]
}

const isGenerated = <C>(value: C | Generated<C>): value is Generated<C> =>
  typeof value === "object" && value !== null && "inputs" in value && "decide" in value

/** Says what to pass if values can't be generated from a schema. */
const withHint = <A>(what: string, instead: string, make: () => A): A => {
  try {
    return make()
  } catch (cause) {
    throw new Error(`${what} can't be generated from the schema; give ${instead}: ${messageOf(cause)}`, { cause })
  }
}

const valuesOf = (schema: Evolution.AnySchema | undefined): Arbitrary.Arbitrary<unknown> =>
  schema === undefined || hasNoFields(schema) ? Arbitrary.Constant({}) : Arbitrary.schema(schema)

/** An object without fields is written as `{}`, whatever else its type allows. */
const hasNoFields = ({ ast }: Evolution.AnySchema): boolean =>
  SchemaAST.isObjects(ast) &&
  ast.encoding === undefined &&
  ast.propertySignatures.length + ast.indexSignatures.length === 0

/** A property for each version before the one that is written. */
const upcastsOf = (
  tag: string,
  what: string,
  codec: Pick<Evolution.Codec<unknown>, "schemaOf" | "version">,
  read: (version: number, json: unknown) => unknown
): ReadonlyArray<Property> =>
  Array.from({ length: codec.version - 1 }, (_, i) => i + 1).flatMap((version) => {
    const schema = codec.schemaOf(version)
    if (schema === undefined) return []
    const title = `${tag}: version ${version} decodes to version ${codec.version}`
    return property(
      title,
      "old",
      () => valuesOf(schema),
      (old) => {
        const written = encodeAs(schema, old)
        const upcast = (world: 0 | 1) => inWorld(world, () => read(version, written()))
        let results: readonly [unknown, unknown]
        try {
          results = [upcast(0), upcast(1)]
        } catch (cause) {
          const reason = `version ${version} of ${what} can't be upcast to version ${codec.version}`
          throw new Error(`${reason}: ${messageOf(cause)}`, { cause })
        }
        const [first, again] = results
        if (isSame(first, again) || textOf(first) === textOf(again)) return
        throw new Error(
          `the step from version ${version} of ${what} is not pure: read again, at another time, the value is another one (- first, + again)\n${difference([show(first)], [show(again)])}`
        )
      }
    )
  })

/** A value as a program wrote it whose newest version was this one; a new value each time that it is read. */
const encodeAs = (schema: Evolution.AnySchema, value: unknown): (() => unknown) => {
  const text = Transcoder.json.encode(Evolution.compile(Evolution.version(1, schema)).encode(value))
  return () => Transcoder.json.decode(text)
}

/** Applies an event in two worlds, and throws if the reducer can tell them apart; `undefined` if the reducer throws. */
const applyTwice = (aggregate: Aggregate.Any, state: unknown, event: Aggregate.AnyEvent): unknown => {
  const reducer = `the reducer of ${aggregate.name}.${event._tag}`
  const [stateBefore, eventBefore] = [textOf(state), textOf(event)]
  const apply = (world: 0 | 1) => inWorld(world, () => applyOne(aggregate, state, event))
  try {
    const next = apply(0)
    assertUnchanged(`${reducer} changes the state that it gets`, stateBefore, textOf(state))
    assertUnchanged(`${reducer} changes the event that it gets`, eventBefore, textOf(event))
    const again = apply(1)
    if (isSame(next, again) || textOf(next) === textOf(again)) return next
    throw new Impure(
      `${reducer} is not pure: called again, at another time, it returns another state (- first, + again)\n${difference([show(next)], [show(again)])}`
    )
  } catch (error) {
    if (error instanceof Impure) throw error
    return undefined
  }
}

class Impure extends Error {}

const textOf = (value: unknown): string => Formatter.format(value, { space: 2, ignoreToString: true })

const assertUnchanged = (message: string, before: string, after: string): void => {
  if (before !== after) throw new Impure(`${message} (- before, + after)\n${difference([before], [after])}`)
}

/** Takes a decision on a history, and dies if its events can't be recorded, or if the reducers refuse them. */
const checkDecision = <Name extends string>(
  aggregate: Aggregate.Any,
  decision: Decision.Decision<Name, unknown>,
  history: ReadonlyArray<Aggregate.AnyEvent>,
  canFollow: ((state: unknown, event: Aggregate.AnyEvent) => boolean) | undefined
): Effect.Effect<void> => {
  const decideOn = (given: ReadonlyArray<Aggregate.AnyEvent>): Effect.Effect<void> =>
    Effect.suspend(() => {
      const accepted = longestAccepted(aggregate, given)
      if (decision.requires === "existing" && accepted.length === 0) return Effect.void
      const before = foldAll(aggregate, undefined, accepted)
      const known = { id: "given" as Aggregate.Id<string> }
      const taken = take({ aggregate, state: before, events: accepted.length, known }, decision)
      return Effect.flatMap(Effect.exit(taken), (exit) => {
        if (Exit.isSuccess(exit))
          return Effect.sync(() => accept(aggregate, before, accepted.length, exit.value.events, canFollow))
        if (Cause.hasFails(exit.cause)) return Effect.void
        return Cause.hasInterruptsOnly(exit.cause)
          ? Effect.interrupt
          : Effect.die(new Error(`the decision threw: ${messageOf(Cause.squash(exit.cause))}`))
      })
    })
  if (decision.requires === "existing") return decideOn(history)
  if (decision.requires === "missing") return decideOn([])
  return Effect.andThen(decideOn([]), decideOn(history))
}

/**
 * The beginning of a history that the reducers accept; whether they accept all of it is checked by another property.
 */
const longestAccepted = (
  aggregate: Aggregate.Any,
  history: ReadonlyArray<Aggregate.AnyEvent>
): ReadonlyArray<Aggregate.AnyEvent> => {
  let state: unknown
  for (const [i, event] of history.entries()) {
    try {
      state = applyOne(aggregate, state, event)
    } catch {
      return history.slice(0, i)
    }
  }
  return history
}

const accept = (
  aggregate: Aggregate.Any,
  before: unknown,
  first: number,
  events: ReadonlyArray<unknown>,
  canFollow: ((state: unknown, event: Aggregate.AnyEvent) => boolean) | undefined
): void => {
  let state = before
  try {
    for (const { event } of recordable(aggregate, first, events)) {
      if (state !== undefined && canFollow?.(state, event) === false) {
        throw new Error(`${show(event)} can't follow the state ${show(state)}, by canFollow`)
      }
      state = applyOne(aggregate, state, event)
    }
    if (state !== undefined && events.length > 0) snapshotOf(aggregate, state)
  } catch (cause) {
    throw new Error(`the events that the decision records are not accepted: ${messageOf(cause)}`, { cause })
  }
}
