/** The outcomes of a decision or a program, and the expectations of it. */
import { Cause, Effect, Exit } from "effect"
import { messageOf } from "../../internal/errors/messageOf.ts"
import { isSame, show } from "./compare.ts"
import type { From, Paragraph } from "./report.ts"
import { compared, failed, listed, withoutFrames } from "./report.ts"

/** The outcome: events and perhaps a value, a typed failure, or something that is neither. */
export type Outcome<Events> =
  | { readonly _tag: "Recorded"; readonly events: Events; readonly value: unknown }
  | { readonly _tag: "Failed"; readonly failure: unknown }
  | { readonly _tag: "Broken"; readonly reason: string; readonly cause: unknown }

/** The outcome of an effect that ended. */
export const outcomeOf = <Events>(
  exit: Exit.Exit<{ readonly events: Events; readonly value: unknown }, unknown>,
  what: string
): Effect.Effect<Outcome<Events>> => {
  if (Exit.isSuccess(exit)) return Effect.succeed({ _tag: "Recorded", ...exit.value })
  if (Cause.hasInterruptsOnly(exit.cause)) return Effect.failCause(exit.cause as Cause.Cause<never>)
  const failure = exit.cause.reasons.find(Cause.isFailReason)
  if (failure !== undefined) return Effect.succeed({ _tag: "Failed", failure: failure.error })
  const cause = Cause.squash(exit.cause)
  return Effect.succeed({ _tag: "Broken", reason: `${what} threw: ${messageOf(cause)}`, cause })
}

/** Runs an effect that ends synchronously; if it does not, throws an error that names the alternative. */
export const runNow = <A>(self: Effect.Effect<A>, what: string, instead: string, from: From): A => {
  const exit = Effect.runSyncExit(self)
  if (Exit.isSuccess(exit)) return exit.value
  const cause = Cause.squash(exit.cause)
  const error = Cause.isAsyncFiberError(cause)
    ? new Error(`${what} does not end at once: use ${instead}, which returns an Effect`)
    : cause
  throw error instanceof Error ? withoutFrames(error, from) : error
}

/** What was given, and how the events of an outcome are compared and shown. */
export interface Expectations<Events, Expected> {
  /** The beginning of a report's title, if any. */
  readonly about: string | undefined
  /** What was run: "the decision". */
  readonly what: string
  readonly given: () => ReadonlyArray<Paragraph>
  readonly show: (events: Events) => ReadonlyArray<string>
  /** Throws if an expected event could not be recorded. */
  readonly read: (expected: Expected) => Events
  readonly areSame: (expected: Events, actual: Events) => boolean
  readonly isEmpty: (events: Events) => boolean
}

/** Compares an outcome with the expectations of it. */
export const expectations = <Events, Expected>(
  outcome: Outcome<Events>,
  { about, what, given, show: showEvents, read, areSame, isEmpty }: Expectations<Events, Expected>
) => {
  const fail = (
    title: string,
    paragraphs: ReadonlyArray<Paragraph>,
    details: { readonly expected?: unknown; readonly actual?: unknown; readonly cause?: unknown },
    from: From
  ) => failed(about === undefined ? title : `${about}: ${title}`, [...given(), ...paragraphs], details, from)

  /** The result, if a failure would be a different outcome than the expected one. */
  const success = (
    wanted: string,
    expected: Paragraph,
    from: From
  ): { readonly events: Events; readonly value: unknown } => {
    if (outcome._tag === "Recorded") return outcome
    if (outcome._tag === "Broken") throw fail(outcome.reason, [], { cause: outcome.cause }, from)
    const { failure } = outcome
    const paragraphs = [expected, listed("failure", [show(failure)])]
    throw fail(`${what} failed, but ${wanted}`, paragraphs, { actual: failure, cause: failure }, from)
  }

  const recorded = (wanted: string, expected: Paragraph, from: From): Events => success(wanted, expected, from).events

  return {
    recorded,
    value: (expected: unknown, from: From): void => {
      const { value } = success("a value was expected", listed("expected", [show(expected)]), from)
      if (isSame(value, expected)) return
      const paragraph = compared("returned", [show(expected)], [show(value)])
      throw fail("the value differs from the expected one", [paragraph], { expected, actual: value }, from)
    },
    events: (given: Expected, from: From): void => {
      const expected = read(given)
      const texts = showEvents(expected)
      const actual = recorded("events were expected", listed("expected", texts), from)
      if (areSame(expected, actual)) return
      const details = { expected, actual }
      if (isEmpty(actual)) {
        throw fail("nothing was recorded, but events were expected", [listed("expected", texts)], details, from)
      }
      const paragraph = compared("recorded", texts, showEvents(actual))
      throw fail("the recorded events differ from the expected ones", [paragraph], details, from)
    },
    nothing: (from: From): void => {
      const actual = recorded("it was expected to record nothing", listed("expected", []), from)
      if (isEmpty(actual)) return
      const paragraph = listed("recorded", showEvents(actual))
      throw fail("events were recorded, but none were expected", [paragraph], { actual }, from)
    },
    failure: (expected: unknown, fields: object | undefined, from: From): void => {
      const wanted = typeof expected === "string" ? [expected, fields ?? {}] : undefined
      const text = wanted === undefined ? show(expected) : show({ ...fields, _tag: expected })
      if (outcome._tag === "Broken") throw fail(outcome.reason, [], { expected, cause: outcome.cause }, from)
      if (outcome._tag === "Recorded") {
        const actual = outcome.events
        const paragraphs = [listed("expected failure", [text]), listed("recorded", showEvents(actual))]
        throw fail(`${what} succeeded, but a failure was expected`, paragraphs, { expected, actual }, from)
      }
      const { failure } = outcome
      if (isSame(failure, expected) || (typeof expected === "string" && hasTag(failure, expected, fields))) return
      const actual = typeof expected === "string" ? select(failure, fields) : show(failure)
      const paragraph = compared("failed with", [text], [actual])
      throw fail(
        `${what} failed with another failure than expected`,
        [paragraph],
        { expected, actual: failure, cause: failure },
        from
      )
    }
  }
}

type Fields = Readonly<Record<string, unknown>>

const hasTag = (failure: unknown, tag: string, fields: object | undefined): boolean =>
  typeof failure === "object" &&
  failure !== null &&
  (failure as Fields)._tag === tag &&
  Object.entries(fields ?? {}).every(([name, value]) => isSame((failure as Fields)[name], value))

/**
 * The parts of a failure that are compared: its tag and the named fields, or all of it if it does not have that tag.
 */
const select = (failure: unknown, fields: object | undefined): string => {
  if (typeof failure !== "object" || failure === null || fields === undefined) return show(failure)
  const named = Object.keys(fields).map((name) => [name, (failure as Fields)[name]] as const)
  return show({ ...Object.fromEntries(named), _tag: (failure as Fields)._tag })
}
