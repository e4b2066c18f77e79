/**
 * Finds where a value that was written and read back is another value than before.
 *
 * Most schemas can't have such values, which is decided once for each: looking at those costs nothing. Others can: two
 * members of a union may have the same JSON, a transformation may lose something, `undefined` in an array is `null`.
 */
import { Equal, Schema, SchemaAST } from "effect"

/** The way to a value within another; empty for the whole. */
export type Path = ReadonlyArray<PropertyKey>

/** Finds the first difference; `undefined` where there is none. */
export type FindDifference = (value: unknown, readBack: unknown) => Path | undefined

/** Compares the values of a schema with what was read back; `undefined` for a schema whose values always come back. */
export const differenceFinder = (ast: SchemaAST.AST): FindDifference | undefined => {
  let isSafe = safe.get(ast)
  if (isSafe === undefined) {
    isSafe = comesBack(ast, new Set())
    safe.set(ast, isSafe)
  }
  return isSafe ? undefined : finderOf(ast, false)
}

/** Whether the values of a schema always come back. */
const safe = new WeakMap<SchemaAST.AST, boolean>()

/** A path as the messages of `effect/Schema` show it. */
export const showPath = (path: Path): string =>
  path.map((key) => `[${typeof key === "number" ? key : JSON.stringify(String(key))}]`).join("")

const HERE: Path = []

// --- which schemas have only values that come back -------------------------------------------------------------------

/** `open`: the schemas that this one is part of, which a recursive schema comes to again. */
const comesBack = (ast: SchemaAST.AST, open: ReadonlySet<SchemaAST.AST>): boolean => {
  if (open.has(ast)) return true
  const within = new Set(open).add(ast)
  // a schema that makes itself anew at each step has no end
  if (within.size > 100) return false
  if (ast.encoding !== undefined) {
    const fields = fieldsOfClass(ast)
    return fields !== undefined && comesBack(fields, within)
  }
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
      return true
    case "Objects":
      return (
        !hasNoFields(ast) &&
        ast.propertySignatures.every(({ type }) => comesBack(type, within)) &&
        ast.indexSignatures.every(
          ({ parameter, type }) => parameter.encoding === undefined && comesBack(type, within) && !isUndefinedOr(type)
        )
      )
    case "Arrays":
      return [...ast.elements, ...ast.rest].every((item) => comesBack(item, within))
    case "Union":
      return ast.types.every((type) => comesBack(type, within)) && areDistinct(membersOf(ast))
    case "Suspend":
      return comesBack(ast.thunk(), within)
    case "Declaration":
      return isKnownToComeBack(ast) && ast.typeParameters.every((type) => comesBack(type, within))
    default:
      return false
  }
}

/** Values of `effect/Schema` whose JSON has all of them, if it has all of what is in them. */
const KNOWN = [
  ...["Date", "DateTimeUtc", "DateTimeZoned", "TimeZone", "TimeZoneNamed", "TimeZoneOffset", "Duration"],
  ...["BigDecimal", "Uint8Array", "URL", "SemVer", "ByteSize"],
  ...["Option", "Result", "Chunk", "HashMap", "HashSet", "ReadonlyMap", "ReadonlySet"]
].map((name) => `effect/schema/${name}`)

const isKnownToComeBack = ({ annotations }: SchemaAST.Declaration): boolean =>
  KNOWN.includes((annotations as Schema.Annotations.Declaration<unknown> | undefined)?.representation?.id ?? "")

/** It says nothing of its values, which may be anything. */
const hasNoFields = ({ indexSignatures, propertySignatures }: SchemaAST.Objects): boolean =>
  propertySignatures.length === 0 && indexSignatures.length === 0

/** The fields of a `Schema.Class`, which are what is written of it. */
const fieldsOfClass = (ast: SchemaAST.AST): SchemaAST.AST | undefined => {
  if (!SchemaAST.isDeclaration(ast) || ast.encoding?.length !== 1) return undefined
  const [fields] = ast.typeParameters
  return fields !== undefined && ast.encoding[0].to === fields && SchemaAST.isObjects(fields) ? fields : undefined
}

const isUndefinedOr = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isUnion(ast) ? ast.types.some(isUndefinedOr) : SchemaAST.isUndefined(ast) || SchemaAST.isVoid(ast)

const membersOf = (union: SchemaAST.Union): ReadonlyArray<SchemaAST.AST> =>
  union.types.flatMap((type) =>
    SchemaAST.isUnion(type) && type.encoding === undefined ? membersOf(type) : [resolve(type)]
  )

const resolve = (ast: SchemaAST.AST, depth = 0): SchemaAST.AST =>
  SchemaAST.isSuspend(ast) && ast.encoding === undefined && depth < 100 ? resolve(ast.thunk(), depth + 1) : ast

type Kind = "null" | "boolean" | "number" | "text" | "array" | "object"

/** The kinds of JSON that a schema is written as: those that are the value itself, and those that stand for another. */
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

/** Whether two structs have a property that tells them apart, whatever else they have. */
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
      tags.set(name, type.literal)
    }
  }
  return tags
}

// --- comparing -------------------------------------------------------------------------------------------------------

/** By whether all of a value is compared, or only what may not come back. */
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

/** Of what a schema is made of: all of it, or what may not come back. */
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

const compareClass =
  (fields: FindDifference): FindDifference =>
  (value, readBack) =>
    isObject(value) && isObject(readBack) && haveSamePrototype(value, readBack) ? fields(value, readBack) : HERE

/** What a struct does not declare is no part of its values. */
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
    // an entry that is undefined is another than none
    return Object.hasOwn(readBack, key) ? entry.find(value[key], readBack[key]) : HERE
  }
}

const acceptor = (ast: SchemaAST.AST): ((value: unknown) => boolean) =>
  Schema.is(Schema.make<Schema.ConstraintCodec<unknown, unknown>>(SchemaAST.toType(ast)))

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

/** All members that have the value have to find it again: what one of them has no name for is another's field. */
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
  // to be equivalent, what is in them need not be the same
  if (ast.typeParameters.length > 0) return findDifference
  const isOfSchema = acceptor(ast)
  const isEquivalent = Schema.toEquivalence(Schema.make<Schema.Schema<unknown>>(SchemaAST.toType(ast)))
  return (value, readBack) => {
    if (value === readBack) return undefined
    if (!isOfSchema(readBack)) return HERE
    return isEquivalent(value, readBack) ? undefined : findDifference(value, readBack)
  }
}

/** Finds a difference between any two values. -0 is 0, and a property that is missing is `undefined`. */
const findDifference: FindDifference = (value, readBack) => {
  if (value === readBack || (Number.isNaN(value) && Number.isNaN(readBack))) return undefined
  if (!isObject(value) || !isObject(readBack) || !haveSamePrototype(value, readBack)) return HERE
  if (value instanceof Date) return Equal.equals(value, readBack) ? undefined : HERE
  const [items, others] = [itemsOf(value), itemsOf(readBack)]
  if (items !== undefined && others !== undefined) return compareLists(items, others)
  if (Equal.isEqual(value) && Equal.equals(value, readBack)) return undefined
  for (const key of new Set([...Object.keys(value), ...Object.keys(readBack)])) {
    const found = findDifference(value[key], readBack[key])
    if (found !== undefined) return [key, ...found]
  }
  return undefined
}

/** JSON has one kind of objects: one without a prototype is the same. */
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
