/**
 * The versions of a schema and the steps between them.
 *
 * Recorded events never change; the code that reads them does. Each version is declared next to the one before it,
 * together with the step that upcasts a value, so that a gap in the chain is a compile error. An evolution serves
 * events and states alike.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate, Evolution } from "effect-eventsourcing"
 *
 * const Account = Aggregate.make("Account", {
 *   state: Schema.Struct({ owner: Schema.String, currency: Schema.String }),
 *   creation: {
 *     Opened: Evolution.version(1, { owner: Schema.String }).version(
 *       2,
 *       { owner: Schema.String, currency: Schema.String },
 *       (v1) => ({ ...v1, currency: "EUR" })
 *     )
 *   },
 *   events: {},
 *   reduce: { Opened: ({ owner, currency }) => ({ owner, currency }) }
 * })
 * console.log(Account.name) // prints: Account
 * ```
 */
import { Cause, Predicate, Schema } from "effect"
import { copierOf } from "./internal/schema/ownCopy.ts"
import { plainEncoder, plainJson } from "./internal/schema/plainJson.ts"
import type { FindDifference } from "./internal/schema/readBack.ts"
import { differenceFinder } from "./internal/schema/readBack.ts"
import { withoutUndefined } from "./internal/schema/withoutUndefined.ts"

/** A schema that needs no service to decode or encode. */
export type AnySchema = Schema.ConstraintCodec<unknown, unknown>

/** The fields of a struct, none of which needs a service. */
export interface Fields {
  readonly [field: PropertyKey]: AnySchema
}

/** What a version is declared with: a schema, or the fields of a struct. */
export type Source = AnySchema | Fields

/** The type of the values of a source. */
export type TypeOf<S> = S extends AnySchema
  ? S["Type"]
  : S extends Fields
    ? [S[keyof S]] extends [never] // no fields
      ? {}
      : Schema.Struct<S>["Type"]
    : never

type Count<N extends number, Counted extends ReadonlyArray<unknown> = []> = Counted["length"] extends N
  ? Counted
  : Count<N, [...Counted, unknown]>

/** The version number after `N`. */
export type Next<N extends number> = [...Count<N>, unknown]["length"] & number

/** One version: its schema, and the step from the version before. */
export interface Step {
  readonly schema: AnySchema
  /** Upcasts from the version before to this one; absent for the first. */
  readonly up: ((previous: never) => unknown) | undefined
}

/** Any evolution whose newest version has this type. */
export interface Any<out Type> {
  readonly Type: Type
  readonly current: number
  readonly steps: ReadonlyArray<Step>
}

/** Marks the evolutions of every copy of this package: `instanceof` recognises only those of its own copy. */
const TypeId = "~effect-eventsourcing/Evolution"

/**
 * A schema with all its versions.
 *
 * **Details**
 *
 * `Type` is the type of the newest version. New events are written with that version, and older ones are upcast to it
 * when they are read.
 */
export class Evolution<out Type, in out Version extends number> implements Any<Type> {
  readonly [TypeId] = TypeId
  declare readonly Type: Type
  readonly current: Version
  /** The versions 1, 2, 3… in order. */
  readonly steps: ReadonlyArray<Step>

  /** @internal */
  constructor(current: Version, steps: ReadonlyArray<Step>) {
    this.current = current
    this.steps = steps
  }

  /**
   * Declares the next version, with the step that upcasts a value of the version before.
   *
   * **When to use**
   *
   * Use this when the fields of an event, or of a state with snapshots, change.
   *
   * **Details**
   *
   * The step is a pure function. Its result is checked against the new schema when an old event is read.
   *
   * **Gotchas**
   *
   * Never change a version with which something was recorded, and never remove one: recorded events never change.
   */
  version<const S extends Source>(
    version: Next<Version>,
    source: S,
    up: (previous: Type) => TypeOf<S>
  ): Evolution<TypeOf<S>, Next<Version>> {
    return new Evolution<TypeOf<S>, Next<Version>>(version, [...this.steps, { schema: toSchema(source), up }])
  }
}

/**
 * Declares the first version of a schema.
 *
 * **When to use**
 *
 * Use this in `Aggregate.make` when the schema of an event or a state gets its second version. Fields alone declare
 * version 1.
 *
 * **Details**
 *
 * Declare each further version with `.version(number, schema, step)` on the result. A missing version or step is a
 * compile error.
 *
 * **Example** (Two versions of an event)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Evolution } from "effect-eventsourcing"
 *
 * const Opened = Evolution.version(1, { owner: Schema.String }).version(
 *   2,
 *   { owner: Schema.String, currency: Schema.String },
 *   (v1) => ({ ...v1, currency: "EUR" })
 * )
 * console.log(Opened.current) // prints: 2
 * ```
 */
export const version = <const S extends Source>(_first: 1, source: S): Evolution<TypeOf<S>, 1> =>
  new Evolution<TypeOf<S>, 1>(1, [{ schema: toSchema(source), up: undefined }])

const toSchema = (source: Source): AnySchema => (isSchema(source) ? source : (Schema.Struct(source) as AnySchema))

const isSchema = (source: Source): source is AnySchema => Schema.isSchema(source)

/** Whether this is a value of the newest version. */
export const accepts = (evolution: Any<unknown>, value: unknown): boolean => {
  const newest = evolution.steps[evolution.steps.length - 1]
  return newest !== undefined && Schema.is(newest.schema)(value)
}

/**
 * Returns a function that copies those values of the newest version that could be changed in place; see {@link
 * copierOf}.
 */
export const copier = (evolution: Any<unknown>): ((value: unknown) => unknown) => {
  const { schema } = evolution.steps[evolution.steps.length - 1] as Step
  const copy = lazy(() => copierOf(schema))
  return (value) => copy()(value)
}

/** Encodes values of the newest version, and decodes values of every version. */
export interface Codec<Type> {
  /** The version that is written. */
  readonly version: number
  /** Encodes to JSON values; throws if the value does not fit its schema. */
  readonly encode: (value: Type) => unknown
  /** Decodes the JSON values of a version, and upcasts them to the newest; throws if they do not fit. */
  readonly decode: (version: number, json: unknown) => Type
  /** Finds where a value differs after it was encoded and decoded; `undefined` if no value of the schema can differ. */
  readonly differenceFinder: () => FindDifference | undefined
  /** The schema of a version, if there is one. */
  readonly schemaOf: (version: number) => AnySchema | undefined
}

/** Whether a value is an evolution. */
export const isEvolution = (u: unknown): u is Any<unknown> => Predicate.hasProperty(u, TypeId)

/** Compiles the codecs of all versions, once. */
export const compile = <Type>(evolution: Any<Type>): Codec<Type> => {
  const versions = evolution.steps.map((step) => ({
    decode: lazy(() => decoder(step.schema)),
    check: lazy(() => withOwnErrors(Schema.decodeUnknownSync(Schema.toType(step.schema)))),
    up: step.up as ((previous: unknown) => unknown) | undefined
  }))
  const newest = versions.length
  const { schema } = evolution.steps[newest - 1] as Step
  const encode = lazy(() => encoder(schema))
  const finder = lazy(() => ({ find: differenceFinder(schema.ast) }))
  return {
    version: newest,
    encode: (value) => encode()(value),
    differenceFinder: () => finder().find,
    schemaOf: (version) => evolution.steps[version - 1]?.schema,
    decode: (version, json) => {
      const from = versions[version - 1]
      if (from === undefined) {
        throw new Error(
          `schema version ${version} is unknown here, where the newest is ${newest}; a newer version of the program wrote it`
        )
      }
      let value = from.decode()(json)
      for (let v = version; v < newest; v++) {
        const step = versions[v]
        value = step?.check()(step.up?.(value))
      }
      return value as Type
    }
  }
}

/** Rethrows what a schema's own transformation throws unchanged; `effect/Schema` would hide it in another error. */
const withOwnErrors =
  (parse: (value: unknown) => unknown): ((value: unknown) => unknown) =>
  (value) => {
    try {
      return parse(value)
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined
      throw Cause.isCause(cause) && Cause.hasDies(cause) ? ownError(Cause.squash(cause)) : error
    }
  }

const ownError = (defect: unknown): unknown =>
  Cause.isAsyncFiberError(defect)
    ? new Error("a transformation in its schema is asynchronous, but events are encoded and decoded synchronously")
    : defect

/** Encodes to JSON values. What the schema would only copy is copied without it. */
const encoder = (schema: AnySchema): ((value: unknown) => unknown) => {
  const encode = withOwnErrors(Schema.encodeUnknownSync(withoutUndefined(Schema.toCodecJson(schema))))
  const encodePlain = plainEncoder(schema.ast)
  return encodePlain === undefined ? encode : (value) => encodePlain(value) ?? encode(value)
}

/** Decodes from JSON values. What the schema would copy unchanged is not copied. */
const decoder = (schema: AnySchema): ((json: unknown) => unknown) => {
  const decode = withOwnErrors(Schema.decodeUnknownSync(withoutUndefined(Schema.toCodecJson(schema))))
  const isPlain = plainJson(schema.ast)
  return isPlain === undefined ? decode : (json) => (isPlain(json) ? json : decode(json))
}

const lazy = <A>(make: () => A): (() => A) => {
  let made: A | undefined
  return () => (made ??= make())
}
