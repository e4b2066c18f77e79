/**
 * Declares domain events: the schema of an event in all versions, its stored name, its aliases.
 *
 * Most events need none of this: in `Aggregate.make` the fields alone declare an event of version 1, stored as
 * `<Aggregate>.<Event>`.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { DomainEvent } from "effect-eventsourcing"
 *
 * // stored as "Dog.Registered" for ever, whatever the code calls it; "Dog.Created" is what it was called before
 * const Registered = DomainEvent.make({
 *   type: "Dog.Registered",
 *   aliases: ["Dog.Created"],
 *   schema: { name: Schema.NonEmptyString }
 * })
 * console.log(Registered.type) // prints: Dog.Registered
 * ```
 */
import { Predicate, Schema, SchemaAST } from "effect"
import * as Evolution from "./Evolution.ts"
import { isType } from "./StoredEvent.ts"

/** Fields, a schema of an object, or an evolution of one. */
export type Source = Evolution.Fields | ObjectSchema | Evolution.Any<object>

type ObjectSchema = Evolution.AnySchema & { readonly Type: object }

/** Marks the declarations of every copy of this package: `instanceof` recognises only those of its own copy. */
const TypeId = "~effect-eventsourcing/DomainEvent"

/** A declared event. */
export class DomainEvent<out Payload> {
  readonly [TypeId] = TypeId
  declare readonly Payload: Payload
  /** The stored name; `undefined` means `<Aggregate>.<Event>`. */
  readonly type: string | undefined
  readonly aliases: ReadonlyArray<string>
  readonly evolution: Evolution.Any<Payload>

  /** @internal */
  constructor(type: string | undefined, aliases: ReadonlyArray<string>, evolution: Evolution.Any<Payload>) {
    this.type = type
    this.aliases = aliases
    this.evolution = evolution
  }
}

/** Everything that an event can be declared with. */
export type Declaration = Source | DomainEvent<object>

/** The payload type of a declaration. */
export type PayloadOf<D> = [D[keyof D]] extends [never]
  ? {}
  : D extends DomainEvent<infer Payload>
    ? Payload
    : D extends Evolution.Any<infer Type>
      ? Type
      : Evolution.TypeOf<D>

/**
 * Declares an event with a stored name or aliases of its own.
 *
 * `type` is the name that is recorded: letters, digits and `_ . : -`, by default `<Aggregate>.<Event>`. It must never
 * change once events are recorded. `aliases` are stored names that events of this type had earlier.
 */
export const make = <const S extends Source>(options: {
  readonly schema: S
  readonly type?: string
  readonly aliases?: ReadonlyArray<string>
}): DomainEvent<PayloadOf<S>> => {
  for (const type of [...(options.type === undefined ? [] : [options.type]), ...(options.aliases ?? [])]) {
    if (!isType(type))
      throw new Error(`invalid event type "${type}": it must be 1 to 256 letters, digits, "_", ".", ":" or "-"`)
  }
  return new DomainEvent(options.type, options.aliases ?? [], toEvolution(options.schema))
}

const toEvolution = <S extends Source>(source: S) =>
  (Evolution.isEvolution(source) ? source : Evolution.version(1, source as Evolution.Source)) as Evolution.Any<
    PayloadOf<S>
  >

/** Whether a value is a declaration that `make` returned. */
export const isDomainEvent = (u: unknown): u is DomainEvent<unknown> => Predicate.hasProperty(u, TypeId)

/** Converts any form of declaration to a {@link DomainEvent}. */
export const fromDeclaration = <D extends Declaration>(declaration: D): DomainEvent<PayloadOf<D>> =>
  (isDomainEvent(declaration) ? declaration : make({ schema: declaration as Source })) as DomainEvent<PayloadOf<D>>

/**
 * The codec of an event: of its fields, without the `_tag` that it has as a value, unless the schema declares `_tag`
 * itself.
 *
 * Throws on a schema whose values can't be events, because its `_tag` is another event's or its values are not objects.
 */
export const compile = (tag: string, evolution: Evolution.Any<object>): Evolution.Codec<object> => {
  const codec = Evolution.compile(evolution)
  const schema = evolution.steps[evolution.steps.length - 1]?.schema
  if (schema === undefined || !Schema.isSchema(schema)) return codec
  if (hasNoFields(schema)) return { ...codec, encode: () => ({}), differenceFinder: () => undefined }
  const toValue = valueOf(tag, schema)
  return {
    ...codec,
    encode: (event) => codec.encode(toValue(event)),
    differenceFinder: () => {
      const find = codec.differenceFinder()
      return find === undefined ? undefined : (event, readBack) => find(toValue(event as object), readBack)
    }
  }
}

/** Returns the constructor of an event, which makes it from its fields. */
export const constructorOf = (
  name: string,
  tag: string,
  evolution: Evolution.Any<object>
): ((payload?: object) => { readonly _tag: string }) => {
  const schema = evolution.steps[evolution.steps.length - 1]?.schema
  if (schema !== undefined && hasNoFields(schema)) return () => ({ _tag: tag })
  const isRecord = schema !== undefined && hasAnyKeys(schema.ast)
  return (payload) => {
    if (isRecord && payload !== undefined && "_tag" in payload && payload._tag !== tag) {
      throw new Error(`${name} is a record, and "_tag" can't be one of its keys, because it holds the event's name`)
    }
    return { ...payload, _tag: tag }
  }
}

/** Whether the keys of an event are data. */
const hasAnyKeys = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isUnion(ast) ? ast.types.some(hasAnyKeys) : SchemaAST.isObjects(ast) && ast.indexSignatures.length > 0

/** Whether an event's schema has nothing to record: further properties of such an event are not part of it. */
const hasNoFields = (schema: Evolution.AnySchema): boolean => {
  const { ast } = schema
  if (ast.encoding !== undefined && !isClass(schema)) return false
  const fields = isClass(schema) && SchemaAST.isDeclaration(ast) ? ast.typeParameters[0] : ast
  return (
    fields !== undefined &&
    SchemaAST.isObjects(fields) &&
    fields.propertySignatures.length === 0 &&
    fields.indexSignatures.length === 0
  )
}

/** Whether a schema is a class, such as one of `Schema.Class`. */
const isClass = (schema: Evolution.AnySchema): schema is Evolution.AnySchema & (new (payload: object) => object) =>
  SchemaAST.isDeclaration(schema.ast) && "fields" in schema

const withoutTag = ({ _tag, ...payload }: { readonly _tag?: unknown }): object => payload

/** What a schema encodes of an event: a record takes every property as its own, and a class requires an instance. */
const valueOf = (tag: string, schema: Evolution.AnySchema): ((event: object) => object) => {
  const { ast } = schema
  if (isClass(schema)) return (event) => (event instanceof schema ? event : new schema(withoutTag(event)))
  const ownTag = SchemaAST.isObjects(ast) ? ast.propertySignatures.find(({ name }) => name === "_tag") : undefined
  if (ownTag !== undefined) {
    const isLiteral = SchemaAST.isLiteral(ownTag.type) && ownTag.type.literal === tag
    if (!isLiteral) throw new Error(`the schema of event "${tag}" has a different _tag`)
    return (event) => event
  }
  if (!isPlain(ast)) {
    throw new Error(`the schema of event "${tag}" must be a struct, a record, a class, or a union of structs`)
  }
  // a struct ignores properties that it does not declare
  return SchemaAST.isObjects(ast) && ast.indexSignatures.length === 0 ? (event) => event : withoutTag
}

/** Whether the values of a schema are plain objects, with no `_tag` of their own. */
const isPlain = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isUnion(ast)
    ? ast.types.every(isPlain)
    : SchemaAST.isObjects(ast) && ast.propertySignatures.every(({ name }) => name !== "_tag")
