/**
 * Tells which JSON values a schema decodes to themselves: values that consist of strings, booleans, finite numbers,
 * `null`, literals, and structs and arrays of them, including every check of the schema.
 *
 * Most events and states are such values. Checking one takes a third of the time in which the schema copies it. A value
 * that is not plain, or not valid, is left to the schema, which reports what is wrong with it.
 */
import { SchemaAST } from "effect"

type IsPlain = (value: unknown) => boolean

const defaults: SchemaAST.ParseOptions = {}

/** `undefined` if a schema converts values, or if that is not known. */
export const plainJson = (ast: SchemaAST.AST): IsPlain | undefined => {
  if (ast.encoding !== undefined) return undefined
  const isPlain = ofNode(ast)
  return isPlain === undefined || ast.checks === undefined ? isPlain : checked(isPlain, ast, ast.checks)
}

const ofNode = (ast: SchemaAST.AST): IsPlain | undefined => {
  switch (ast._tag) {
    case "String":
      return (value) => typeof value === "string"
    case "Boolean":
      return (value) => typeof value === "boolean"
    case "Number":
      // numbers that are not finite have names in JSON
      return Number.isFinite
    case "Null":
      return (value) => value === null
    case "Literal":
      return typeof ast.literal === "bigint" ? undefined : (value) => value === ast.literal
    case "Union":
      return ofUnion(ast)
    case "Objects":
      return ast.encodingChecks === undefined ? ofStruct(ast) : undefined
    case "Arrays":
      return ast.encodingChecks === undefined ? ofArray(ast) : undefined
    default:
      return undefined
  }
}

const checked = (isPlain: IsPlain, ast: SchemaAST.AST, checks: SchemaAST.Checks): IsPlain => {
  const filters = checks.flatMap(filtersOf)
  return (value) => {
    if (!isPlain(value)) return false
    for (const filter of filters) if (filter.run(value, ast, defaults) !== undefined) return false
    return true
  }
}

const filtersOf = (check: SchemaAST.Check<unknown>): ReadonlyArray<SchemaAST.Filter<unknown>> =>
  check._tag === "Filter" ? [check] : check.checks.flatMap(filtersOf)

/**
 * Of two structs, the schema takes the first that matches, without the properties that it does not declare. Therefore
 * at most one member may be a struct. Nor may the value of one member be what represents a value of another in JSON:
 * `null` for `undefined`, or a text for a number that is not finite.
 */
const ofUnion = (union: SchemaAST.Union): IsPlain | undefined => {
  const types = membersOf(union)
  if (types === undefined) return undefined
  const has = (isSuch: (type: SchemaAST.AST) => boolean) => types.some(isSuch)
  if (types.filter(({ _tag }) => _tag === "Objects" || _tag === "Arrays").length > 1) return undefined
  if (has(SchemaAST.isUndefined) && has(SchemaAST.isNull)) return undefined
  if (has(SchemaAST.isNumber) && has(isText)) return undefined
  const checks = types.filter((type) => !SchemaAST.isUndefined(type)).map(plainJson)
  return checks.every((check) => check !== undefined) ? (value) => checks.some((check) => check(value)) : undefined
}

const isText = (type: SchemaAST.AST): boolean =>
  SchemaAST.isString(type) || (SchemaAST.isLiteral(type) && typeof type.literal === "string")

/** The members of a union and of its nested unions; `undefined` if the union decides by more than the first match. */
const membersOf = ({ encodingChecks, options, types }: SchemaAST.Union): ReadonlyArray<SchemaAST.AST> | undefined => {
  if (encodingChecks !== undefined || options?.mode === "oneOf") return undefined
  const members: Array<SchemaAST.AST> = []
  for (const type of types) {
    if (!SchemaAST.isUnion(type)) {
      members.push(type)
      continue
    }
    const inner = type.checks === undefined && type.encoding === undefined ? membersOf(type) : undefined
    if (inner === undefined) return undefined
    members.push(...inner)
  }
  return members
}

const ofArray = ({ elements, rest: [item, ...others] }: SchemaAST.Arrays): IsPlain | undefined => {
  if (elements.length > 0 || item === undefined || others.length > 0) return undefined
  const isPlain = plainJson(item)
  return isPlain && ((value) => Array.isArray(value) && value.every(isPlain))
}

interface Field {
  readonly name: string
  readonly isOptional: boolean
  readonly isPlain: IsPlain
}

const fieldsOf = ({ indexSignatures, propertySignatures }: SchemaAST.Objects): ReadonlyArray<Field> | undefined => {
  if (indexSignatures.length > 0) return undefined
  const fields: Array<Field> = []
  for (const { name, type } of propertySignatures) {
    const isPlain = plainJson(type)
    if (isPlain === undefined || typeof name !== "string" || name === "__proto__") return undefined
    fields.push({ name, isOptional: SchemaAST.isOptional(type), isPlain })
  }
  return fields
}

/**
 * Encodes a struct of plain fields: the fields that it declares. The function returns `undefined` for a value that is
 * left to the schema; there is no function for a schema that converts values.
 */
export const plainEncoder = (ast: SchemaAST.AST): ((value: unknown) => object | undefined) | undefined => {
  if (!SchemaAST.isObjects(ast)) return undefined
  if (ast.encoding !== undefined || ast.checks !== undefined || ast.encodingChecks !== undefined) return undefined
  const fields = fieldsOf(ast)
  if (fields === undefined || fields.length === 0) return undefined
  return (value) => {
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) {
      return undefined
    }
    const encoded: Record<string, unknown> = {}
    for (const { isOptional, isPlain, name } of fields) {
      const field = (value as Readonly<Record<string, unknown>>)[name]
      if (field === undefined && isOptional) continue
      if (!isPlain(field)) return undefined
      encoded[name] = field
    }
    return encoded
  }
}

const ofStruct = (ast: SchemaAST.Objects): IsPlain | undefined => {
  const fields = fieldsOf(ast)
  if (fields === undefined) return undefined
  return (value) => {
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return false
    let others = 0
    for (const _ in value) others++
    for (const { isOptional, isPlain, name } of fields) {
      const field = (value as Readonly<Record<string, unknown>>)[name]
      if (field === undefined) {
        if (!isOptional) return false
      } else {
        if (!isPlain(field)) return false
        others--
      }
    }
    return others === 0
  }
}
