/**
 * Copies of states that can be changed in place, so that nobody changes what commands decide on.
 *
 * Whether a state can be changed is decided once, by its schema: one whose types are all read-only is shared as it is.
 */
import type { Schema } from "effect"
import { Redacted, SchemaAST } from "effect"

type Copy = (state: unknown) => unknown

/** How states of a schema are copied; those that nothing can change are not. */
export const copierOf = (schema: Schema.ConstraintCodec<unknown, unknown>): Copy =>
  isMutable(SchemaAST.toType(schema.ast), new Set()) ? (state) => copy(state, new Map()) : (state) => state

/** `open`: the schemas that this one is part of, which a recursive schema comes to again. */
const isMutable = (ast: SchemaAST.AST, open: ReadonlySet<SchemaAST.AST>): boolean => {
  if (ast.context?.isMutable === true) return true
  if (open.has(ast)) return false
  const within = new Set(open).add(ast)
  // a schema that makes itself anew at each step has no end
  if (within.size > 100) return true
  const isPartMutable = (part: SchemaAST.AST) => isMutable(part, within)
  switch (ast._tag) {
    case "Objects":
      return (
        ast.propertySignatures.length + ast.indexSignatures.length === 0 ||
        ast.propertySignatures.some(({ type }) => isPartMutable(type)) ||
        ast.indexSignatures.some(({ type }) => isPartMutable(type))
      )
    case "Arrays":
      return ast.isMutable || ast.elements.some(isPartMutable) || ast.rest.some(isPartMutable)
    case "Union":
      return ast.types.some(isPartMutable)
    case "Suspend":
      return isPartMutable(ast.thunk())
    case "Declaration":
      return !isImmutable(ast) || ast.typeParameters.some(isPartMutable)
    case "Unknown":
    case "Any":
    case "ObjectKeyword":
      return true
    default:
      return false
  }
}

/** Classes of Effect whose values nothing changes in place. */
const IMMUTABLE = [
  ...["DateTimeUtc", "DateTimeZoned", "TimeZone", "TimeZoneNamed", "TimeZoneOffset", "Duration", "BigDecimal"],
  ...["SemVer", "ByteSize", "Option", "Result", "Chunk", "HashMap", "HashSet", "Redacted"]
].map((name) => `effect/schema/${name}`)

const isImmutable = ({ annotations }: SchemaAST.Declaration): boolean =>
  IMMUTABLE.includes((annotations as Schema.Annotations.Declaration<unknown> | undefined)?.representation?.id ?? "")

/** `copies`: what was copied, so that a part which is there twice is one in the copy, too. */
const copy = (value: unknown, copies: Map<object, object>): unknown => {
  if (typeof value !== "object" || value === null || Redacted.isRedacted(value)) return value
  const known = copies.get(value)
  if (known !== undefined) return known
  const own = (part: unknown) => copy(part, copies)
  const remember = <A extends object>(made: A): A => {
    copies.set(value, made)
    return made
  }
  if (Array.isArray(value)) {
    const items: Array<unknown> = remember([])
    for (const item of value) items.push(own(item))
    return items
  }
  if (value instanceof Date) return remember(new Date(value.getTime()))
  if (value instanceof URL) return remember(new URL(value.href))
  if (value instanceof RegExp) return remember(new RegExp(value.source, value.flags))
  if (isTypedArray(value)) return remember(TypedArray.prototype.slice.call(value))
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return remember(structuredClone(value))
  if (value instanceof Map) {
    const entries = remember(new Map<unknown, unknown>())
    for (const [key, item] of value) entries.set(own(key), own(item))
    return entries
  }
  if (value instanceof Set) {
    const items = remember(new Set<unknown>())
    for (const item of value) items.add(own(item))
    return items
  }
  if (hasHiddenParts(value)) return value
  const made: object = remember(Object.create(Object.getPrototypeOf(value)))
  for (const key of Reflect.ownKeys(value)) {
    const property = Object.getOwnPropertyDescriptor(value, key) as PropertyDescriptor
    Object.defineProperty(made, key, "value" in property ? { ...property, value: own(property.value) } : property)
  }
  return made
}

const TypedArray: { readonly prototype: Uint8Array } = Object.getPrototypeOf(Uint8Array)

const isTypedArray = (value: object): value is Uint8Array => ArrayBuffer.isView(value) && !(value instanceof DataView)

/** Whether a value has parts that nobody else can copy: one of a class with private members is shared. */
const hasHiddenParts = (value: object): boolean => {
  const prototype = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return false
  return Reflect.ownKeys(value).length === 0 || hasPrivateMembers(value.constructor)
}

const hasPrivateMembers = (constructor: unknown): boolean =>
  typeof constructor === "function" && /#[\w$]/.test(Function.prototype.toString.call(constructor))
