/**
 * Finds where a value changes when it is written and read back.
 *
 * Most schemas can't have such values. That is decided once for each schema, and checking the values of those costs
 * nothing. Other schemas can: two members of a union may have the same JSON, a transformation may lose something,
 * `undefined` in an array becomes `null`.
 */
import { Equal, Option, Result, Schema, SchemaAST } from "effect"
import { fieldsOfClass, isOneOf, reaches, representationOf } from "./schemaNodes.ts"

/** The path to a value within another; empty for the whole. */
export type Path = ReadonlyArray<PropertyKey>

/** Finds the first difference; `undefined` if there is none. */
export type FindDifference = (value: unknown, readBack: unknown) => Path | undefined

/** Compares the values of a schema with what was read back; `undefined` for a schema whose values always come back. */
export const differenceFinder = (ast: SchemaAST.AST): FindDifference | undefined => {
  let isSafe = safe.get(ast)
  if (isSafe === undefined) {
    isSafe = comesBack(ast)
    safe.set(ast, isSafe)
  }
  if (isSafe) return undefined
  const find = finderOf(ast, false)
  // most values come back, which is found without using the schema
  return (value, readBack) => (findDifference(value, readBack) === undefined ? undefined : find(value, readBack))
}

/** Whether the values of a schema always come back. */
const safe = new WeakMap<SchemaAST.AST, boolean>()

/** A path as the messages of `effect/Schema` show it. */
export const showPath = (path: Path): string =>
  path.map((key) => `[${typeof key === "number" ? key : JSON.stringify(String(key))}]`).join("")

const HERE: Path = []

// --- which schemas have only values that come back -------------------------------------------------------------------

const comesBack = (ast: SchemaAST.AST): boolean => !reaches(ast, mayNotComeBack)

/** Whether a value of this node may not come back, whatever it contains. */
const mayNotComeBack = (ast: SchemaAST.AST): boolean => {
  if (ast.encoding !== undefined) return fieldsOfClass(ast) === undefined
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
    case "Number":
    case "Boolean":
    case "BigInt":
    case "Null":
    case "Undefined":
    case "Void":
    case "Literal":
    case "Enum":
    case "Never":
    case "Arrays":
    case "Suspend":
      return false
    case "Objects":
      return (
        hasNoFields(ast) ||
        ast.indexSignatures.some(({ parameter, type }) => parameter.encoding !== undefined || isUndefinedOr(type))
      )
    case "Union":
      return !areDistinct(membersOf(ast))
    case "Declaration":
      return !isKnownToComeBack(ast)
    default:
      return true
  }
}

/** Values of `effect/Schema` whose JSON preserves them if it preserves what they contain. */
const isKnownToComeBack = isOneOf(() => [
  ...[Schema.Date, Schema.DateTimeUtc, Schema.DateTimeZoned, Schema.TimeZone, Schema.TimeZoneNamed],
  ...[Schema.TimeZoneOffset, Schema.Duration, Schema.BigDecimal, Schema.Uint8Array, Schema.URL],
  ...[Schema.Option(Schema.String), Schema.Result(Schema.String, Schema.String), Schema.Chunk(Schema.String)],
  ...[Schema.HashMap(Schema.String, Schema.String), Schema.HashSet(Schema.String)],
  ...[Schema.ReadonlyMap(Schema.String, Schema.String), Schema.ReadonlySet(Schema.String)]
])

/** Such a schema says nothing about its values, which may be anything. */
const hasNoFields = ({ indexSignatures, propertySignatures }: SchemaAST.Objects): boolean =>
  propertySignatures.length === 0 && indexSignatures.length === 0

const isUndefinedOr = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isUnion(ast) ? ast.types.some(isUndefinedOr) : SchemaAST.isUndefined(ast) || SchemaAST.isVoid(ast)

const membersOf = (union: SchemaAST.Union): ReadonlyArray<SchemaAST.AST> =>
  union.types.flatMap((type) =>
    SchemaAST.isUnion(type) && type.encoding === undefined ? membersOf(type) : [resolve(type)]
  )

const resolve = (ast: SchemaAST.AST, depth = 0): SchemaAST.AST =>
  SchemaAST.isSuspend(ast) && ast.encoding === undefined && depth < 100 ? resolve(ast.thunk(), depth + 1) : ast

type Kind = "null" | "boolean" | "number" | "text" | "array" | "object"

/**
 * The kinds of JSON as which a schema is written: those that are the value itself, and those that represent another
 * value.
 */
const kindsOf = (ast: SchemaAST.AST): { readonly itself: ReadonlyArray<Kind>; readonly other: ReadonlyArray<Kind> } => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
      return { itself: ["text"], other: [] }
    case "Boolean":
      return { itself: ["boolean"], other: [] }
    case "Null":
      return { itself: ["null"], other: [] }
    case "Number":
      // those that are not finite have names
      return { itself: ["number"], other: isFinite(ast) ? [] : ["text"] }
    case "Literal":
      return typeof ast.literal === "bigint"
        ? { itself: [], other: ["text"] }
        : { itself: [kindOfLiteral(ast.literal)], other: [] }
    case "Enum":
      return { itself: ["text", "number"], other: [] }
    case "Undefined":
    case "Void":
      return { itself: [], other: ["null"] }
    case "BigInt":
      return { itself: [], other: ["text"] }
    case "Arrays":
      return { itself: [], other: ["array"] }
    case "Objects":
      return { itself: [], other: ast.propertySignatures.length === 0 ? ["object", "array"] : ["object"] }
    default:
      return fieldsOfClass(ast) === undefined
        ? { itself: [], other: ["null", "boolean", "number", "text", "array", "object"] }
        : { itself: [], other: ["object"] }
  }
}

const kindOfLiteral = (literal: string | number | boolean | null): Kind => {
  if (literal === null) return "null"
  return typeof literal === "string" ? "text" : typeof literal === "number" ? "number" : "boolean"
}

const isFinite = ({ checks }: SchemaAST.Number): boolean => checks?.some(isFiniteCheck) === true

const isFiniteCheck = (check: SchemaAST.Check<unknown>): boolean => {
  const id = check.annotations?.representation?.id
  if (id === "effect/schema/isFinite" || id === "effect/schema/isInt") return true
  return check._tag === "FilterGroup" && check.checks.some(isFiniteCheck)
}

/** Whether no two members of a union are written alike and read as different values. */
const areDistinct = (members: ReadonlyArray<SchemaAST.AST>): boolean =>
  members.every((one, i) => members.slice(i + 1).every((other) => areDisjoint(one, other)))

const areDisjoint = (one: SchemaAST.AST, other: SchemaAST.AST): boolean => {
  if (one === other) return true
  const [a, b] = [kindsOf(one), kindsOf(other)]
  const overlap = [...a.itself, ...a.other].some(
    (kind) => b.other.includes(kind) || (b.itself.includes(kind) && a.other.includes(kind))
  )
  return !overlap || (SchemaAST.isUndefined(one) && SchemaAST.isUndefined(other)) || haveDifferentTags(one, other)
}

/** Whether two structs have a property that tells them apart, whatever else they contain. */
const haveDifferentTags = (one: SchemaAST.AST, other: SchemaAST.AST): boolean => {
  const [a, b] = [tagsOf(one), tagsOf(other)]
  return [...a].some(([name, literal]) => b.has(name) && b.get(name) !== literal)
}

const tagsOf = (ast: SchemaAST.AST): ReadonlyMap<PropertyKey, unknown> => {
  const fields = fieldsOfClass(ast) ?? ast
  const tags = new Map<PropertyKey, unknown>()
  if (!SchemaAST.isObjects(fields)) return tags
  for (const { name, type } of fields.propertySignatures) {
    if (SchemaAST.isLiteral(type) && type.encoding === undefined && !SchemaAST.isOptional(type)) {
      // as it is written
      tags.set(name, typeof type.literal === "bigint" ? String(type.literal) : type.literal)
    }
  }
  return tags
}

// --- comparing -------------------------------------------------------------------------------------------------------

/** Separate caches: whether all of a value is compared, or only what may not come back. */
const finders = {
  all: new WeakMap<SchemaAST.AST, FindDifference>(),
  some: new WeakMap<SchemaAST.AST, FindDifference>()
}

const finderOf = (ast: SchemaAST.AST, all: boolean): FindDifference => {
  const known = finders[all ? "all" : "some"]
  const found = known.get(ast)
  if (found !== undefined) return found
  const made = makeFinder(ast, all || (ast.encoding !== undefined && fieldsOfClass(ast) === undefined))
  known.set(ast, made)
  return made
}

/** The finder for a part of a schema: it compares all of the part, or only what may not come back. */
const partFinder = (ast: SchemaAST.AST, all: boolean): FindDifference | undefined =>
  all ? finderOf(ast, true) : differenceFinder(ast)

const makeFinder = (ast: SchemaAST.AST, all: boolean): FindDifference => {
  switch (ast._tag) {
    case "Objects":
      return compareFields(ast, all)
    case "Arrays":
      return compareItems(ast, all)
    case "Union":
      return compareMembers(ast, all || !areDistinct(membersOf(ast)))
    case "Suspend":
      return (value, readBack) => partFinder(ast.thunk(), all)?.(value, readBack)
    case "Declaration": {
      const fields = fieldsOfClass(ast)
      return fields === undefined ? compareDeclared(ast) : compareClass(finderOf(fields, all))
    }
    default:
      return findDifference
  }
}

type Fields = Readonly<Record<PropertyKey, unknown>>

const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null

const under = (key: PropertyKey, path: Path | undefined): Path | undefined => path && [key, ...path]

const compareClass =
  (fields: FindDifference): FindDifference =>
  (value, readBack) =>
    isObject(value) && isObject(readBack) && haveSamePrototype(value, readBack) ? fields(value, readBack) : HERE

/** Properties that a struct does not declare are not part of its values. */
const compareFields = (ast: SchemaAST.Objects, all: boolean): FindDifference => {
  if (hasNoFields(ast)) return findDifference
  const { indexSignatures, propertySignatures } = ast
  const declared = new Set(propertySignatures.map(({ name }) => name))
  const fields = propertySignatures.flatMap(({ name, type }) => {
    const find = partFinder(type, all)
    return find === undefined ? [] : [{ name, find }]
  })
  const findInEntry = compareEntries(indexSignatures)
  return (value, readBack) => {
    if (!isObject(value) || !isObject(readBack)) return HERE
    for (const { name, find } of fields) {
      const found = value[name] === readBack[name] ? undefined : find(value[name], readBack[name])
      if (found !== undefined) return [name, ...found]
    }
    if (findInEntry === undefined) return undefined
    for (const key of Object.keys(value)) {
      const found = declared.has(key) ? undefined : findInEntry(key, value, readBack)
      if (found !== undefined) return [key, ...found]
    }
    return undefined
  }
}

/** Compares an entry of a record, if its key is one of the record's. */
const compareEntries = (
  signatures: ReadonlyArray<SchemaAST.IndexSignature>
): ((key: string, value: Fields, readBack: Fields) => Path | undefined) | undefined => {
  const entries = signatures.map(({ parameter, type }) => ({ isKey: acceptor(parameter), find: finderOf(type, true) }))
  if (entries.length === 0) return undefined
  return (key, value, readBack) => {
    const entry = entries.find(({ isKey }) => isKey(key) || isKey(Number(key)))
    if (entry === undefined) return undefined
    // an entry that is undefined differs from a missing one
    return Object.hasOwn(readBack, key) ? entry.find(value[key], readBack[key]) : HERE
  }
}

/** Whether a value belongs to a schema. If a check of the user's throws on it, it does not. */
const acceptor = (ast: SchemaAST.AST): ((value: unknown) => boolean) => {
  const is = Schema.is(Schema.make<Schema.ConstraintCodec<unknown, unknown>>(SchemaAST.toType(ast)))
  return (value) => {
    try {
      return is(value)
    } catch {
      return false
    }
  }
}

const compareItems = ({ elements, rest }: SchemaAST.Arrays, all: boolean): FindDifference => {
  const [repeated, ...last] = rest.map((item) => partFinder(item, all))
  const first = elements.map((item) => partFinder(item, all))
  return (value, readBack) => {
    if (!Array.isArray(value) || !Array.isArray(readBack) || value.length !== readBack.length) return HERE
    for (let i = 0; i < value.length; i++) {
      const fromEnd = i - (value.length - last.length)
      const find = i < first.length ? first[i] : fromEnd >= 0 ? last[fromEnd] : repeated
      const found = find?.(value[i], readBack[i])
      if (found !== undefined) return [i, ...found]
    }
    return undefined
  }
}

/**
 * Every member that accepts the value has to find it unchanged: what one member does not declare is a field of another.
 */
const compareMembers = ({ types }: SchemaAST.Union, all: boolean): FindDifference => {
  const members = types.map((type) => ({ accepts: acceptor(type), find: partFinder(type, all) }))
  return (value, readBack) => {
    for (const { accepts, find } of members) {
      const found = find !== undefined && accepts(value) ? find(value, readBack) : undefined
      if (found !== undefined) return found
    }
    return undefined
  }
}

/** Values of a declared schema, such as dates, maps and options. */
const compareDeclared = (ast: SchemaAST.Declaration): FindDifference => {
  const [one, other] = ast.typeParameters.map((type) => finderOf(type, true))
  if (one !== undefined) return compareContainer(representationOf(ast), one, other ?? findDifference)
  const isOfSchema = acceptor(ast)
  const isEquivalent = Schema.toEquivalence(Schema.make<Schema.Schema<unknown>>(SchemaAST.toType(ast)))
  return (value, readBack) => {
    if (value === readBack) return undefined
    if (!isOfSchema(readBack)) return HERE
    return isEquivalent(value, readBack) ? undefined : findDifference(value, readBack)
  }
}

/** The contents are compared by their own schemas: two values may be equivalent without being the same. */
const compareContainer = (id: string | undefined, one: FindDifference, other: FindDifference): FindDifference => {
  switch (id) {
    case "effect/schema/Option":
      return (value, readBack) =>
        Option.isOption(value) && Option.isOption(readBack) && value._tag === readBack._tag
          ? under("value", Option.isSome(value) ? one(value.value, Option.getOrUndefined(readBack)) : undefined)
          : HERE
    case "effect/schema/Result":
      return (value, readBack) => {
        if (!Result.isResult(value) || !Result.isResult(readBack) || value._tag !== readBack._tag) return HERE
        return Result.isSuccess(value)
          ? under("success", one(value.success, Option.getOrUndefined(Result.getSuccess(readBack))))
          : under("failure", other(value.failure, Option.getOrUndefined(Result.getFailure(readBack))))
      }
    case "effect/schema/ReadonlyMap":
    case "effect/schema/HashMap":
      return compareAll((value, readBack) => comparePair(one, other, value, readBack))
    case "effect/schema/ReadonlySet":
    case "effect/schema/HashSet":
    case "effect/schema/Chunk":
      return compareAll(one)
    default:
      return findDifference
  }
}

const comparePair = (key: FindDifference, item: FindDifference, value: unknown, readBack: unknown): Path | undefined =>
  Array.isArray(value) && Array.isArray(readBack)
    ? (under(0, key(value[0], readBack[0])) ?? under(1, item(value[1], readBack[1])))
    : HERE

/**
 * Compares items in order. Items without an order, such as those of a set that finds them by hash, may be in any order.
 */
const compareAll =
  (find: FindDifference): FindDifference =>
  (value, readBack) => {
    if (!isIterable(value) || !isIterable(readBack)) return HERE
    const [items, others] = [[...value], [...readBack]]
    if (items.length !== others.length) return HERE
    for (const [i, item] of items.entries()) {
      const found = find(item, others[i])
      if (found !== undefined && !others.some((other) => find(item, other) === undefined)) return [i, ...found]
    }
    return undefined
  }

const isIterable = (value: unknown): value is Iterable<unknown> => isObject(value) && Symbol.iterator in value

/**
 * Finds a difference between any two values. -0 equals 0, a missing property equals `undefined`, and functions are not
 * compared. A class's own equality is tried before its members are compared.
 */
const findDifference: FindDifference = (value, readBack) => {
  if (value === readBack || (Number.isNaN(value) && Number.isNaN(readBack))) return undefined
  if (typeof value === "function" && typeof readBack === "function") return undefined
  if (!isObject(value) || !isObject(readBack) || !haveSamePrototype(value, readBack)) return HERE
  if (value instanceof Date) return Object.is(value.getTime(), Number(readBack)) ? undefined : HERE
  const [items, others] = [itemsOf(value), itemsOf(readBack)]
  if (items !== undefined && others !== undefined) return compareLists(items, others)
  if (!isPlain(value) && areTheSame(value, readBack)) return undefined
  for (const key of new Set([...Object.keys(value), ...Object.keys(readBack)])) {
    const found = findDifference(value[key], readBack[key])
    if (found !== undefined) return [key, ...found]
  }
  return undefined
}

const isPlain = (value: object): boolean => haveSamePrototype(value, {})

/** Whether two values of a class are the same according to the class itself. */
const areTheSame = (value: Fields, readBack: Fields): boolean => {
  try {
    if (Equal.isEqual(value)) return Equal.equals(value, readBack)
    if (typeof value.equals === "function" && value.equals(readBack) === true) return true
    const [a, b] = [value.valueOf(), readBack.valueOf()]
    return !isObject(a) && Object.is(a, b)
  } catch {
    return false
  }
}

/** JSON has only one kind of object: one without a prototype counts as the same. */
const haveSamePrototype = (a: object, b: object): boolean =>
  (Object.getPrototypeOf(a) ?? Object.prototype) === (Object.getPrototypeOf(b) ?? Object.prototype)

const itemsOf = (value: object): ReadonlyArray<unknown> | undefined => {
  if (Array.isArray(value)) return value
  if (value instanceof Map || value instanceof Set) return [...value]
  return ArrayBuffer.isView(value) ? [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)] : undefined
}

const compareLists = (value: ReadonlyArray<unknown>, readBack: ReadonlyArray<unknown>): Path | undefined => {
  if (value.length !== readBack.length) return HERE
  for (let i = 0; i < value.length; i++) {
    const found = findDifference(value[i], readBack[i])
    if (found !== undefined) return [i, ...found]
  }
  return undefined
}
