/**
 * Copies states that can be changed in place, so that nobody changes the state on which commands decide.
 *
 * A state's schema tells which parts of it can be changed without a cast: dates, bytes, what is declared mutable, and
 * what may be anything. Those are copied, together with what contains them. Everything else is shared, and a schema
 * without such parts costs nothing. Values of the user's own classes are shared, unless they are a `Schema.Class`: only
 * the class itself could copy them.
 */
import type { Schema } from "effect"
import { Chunk, HashMap, HashSet, Option, Redacted, Result, SchemaAST } from "effect"
import { fieldsOfClass, reaches, representationOf } from "./schemaNodes.ts"

type Copy = (state: unknown) => unknown

/** How states of a schema are copied. States that can't be changed are not copied. */
export const copierOf = (schema: Schema.ConstraintCodec<unknown, unknown>): Copy => {
  const copy = partCopier(SchemaAST.toType(schema.ast))
  return copy === undefined
    ? (state) => state
    : (state) => {
        try {
          return copy(state)
        } catch (error) {
          // nested more deeply than the stack allows
          if (error instanceof RangeError) return state
          throw error
        }
      }
}

/** Whether a value of this node itself can be changed, whatever it contains. */
const isMutableNode = (ast: SchemaAST.AST): boolean => {
  if (ast.context?.isMutable === true) return true
  switch (ast._tag) {
    case "Objects":
      return ast.propertySignatures.length + ast.indexSignatures.length === 0
    case "Arrays":
      return ast.isMutable
    case "Declaration":
      return MUTABLE.has(representationOf(ast) ?? "")
    case "Unknown":
    case "Any":
    case "ObjectKeyword":
      return true
    default:
      return false
  }
}

const copiers = new WeakMap<SchemaAST.AST, Copy | null>()

/** How a part is copied; `undefined` if nothing in it can be changed. */
const partCopier = (ast: SchemaAST.AST): Copy | undefined => {
  const known = copiers.get(ast)
  if (known !== undefined) return known ?? undefined
  const made = reaches(ast, isMutableNode) ? makeCopier(ast) : undefined
  copiers.set(ast, made ?? null)
  return made
}

const makeCopier = (ast: SchemaAST.AST): Copy | undefined => {
  switch (ast._tag) {
    case "Objects":
      return structCopier(ast)
    case "Arrays": {
      const [repeated, ...last] = ast.rest.map(partCopier)
      const first = ast.elements.map(partCopier)
      return (value) =>
        Array.isArray(value) && Object.getPrototypeOf(value) === Array.prototype
          ? value.map((item, i) => {
              const fromEnd = i - (value.length - last.length)
              const copy = i < first.length ? first[i] : fromEnd >= 0 ? last[fromEnd] : repeated
              return copy === undefined ? item : copy(item)
            })
          : value
    }
    case "Union": {
      const members = ast.types.filter((type) => !PRIMITIVE.has(type._tag))
      const [only, ...others] = members
      const copy = only === undefined || others.length > 0 ? copyAny : (partCopier(only) ?? copyAny)
      return (value) => (typeof value === "object" && value !== null ? copy(value) : value)
    }
    case "Suspend":
      return (value) => partCopier(ast.thunk())?.(value) ?? value
    case "Declaration":
      return declaredCopier(ast)
    default:
      return copyAny
  }
}

const PRIMITIVE = new Set([
  "Null",
  "Undefined",
  "Void",
  "String",
  "Number",
  "Boolean",
  "BigInt",
  "Literal",
  "Enum",
  "Symbol"
])

type Fields = Readonly<Record<string, unknown>>

const isPlain = (value: unknown): value is Fields => {
  if (typeof value !== "object" || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** Sets an own property, even if it is named `__proto__`. */
const set = (object: object, name: string, value: unknown): void => {
  if (name === "__proto__") Object.defineProperty(object, name, { value, ...OWN })
  else (object as Record<string, unknown>)[name] = value
}
const OWN = { writable: true, enumerable: true, configurable: true }

const structCopier = (ast: SchemaAST.Objects): Copy => {
  const { indexSignatures, propertySignatures } = ast
  if (propertySignatures.length + indexSignatures.length === 0) return copyAny
  const fields = propertySignatures.map(({ name, type }) => ({ name: String(name), copy: partCopier(type) }))
  const declared = new Set(fields.map(({ name }) => name))
  const copied = fields.flatMap(({ name, copy }) => (copy === undefined ? [] : [{ name, copy }]))
  const entry = indexSignatures.map(({ type }) => partCopier(type)).find((copy) => copy !== undefined)
  const copyEntry = indexSignatures.length > 1 && entry !== undefined ? copyAny : entry
  return (value) => {
    if (!isPlain(value)) return value
    const made: object = Object.assign(Object.create(Object.getPrototypeOf(value)), value)
    for (const { name, copy } of copied) {
      if (Object.hasOwn(value, name)) set(made, name, copy(value[name]))
    }
    if (copyEntry !== undefined) {
      for (const name of Object.keys(value)) if (!declared.has(name)) set(made, name, copyEntry(value[name]))
    }
    return made
  }
}

/** Declared schemas whose values can be changed in place. */
const MUTABLE: ReadonlySet<string> = new Set(
  ["Date", "Uint8Array", "URL", "URLSearchParams", "RegExp"].map((name) => `effect/schema/${name}`)
)

const declaredCopier = (ast: SchemaAST.Declaration): Copy | undefined => {
  const fields = fieldsOfClass(ast)
  if (fields !== undefined) return classCopier(partCopier(fields))
  const [one, other] = ast.typeParameters.map((type) => partCopier(type) ?? share)
  if (one === undefined) return MUTABLE.has(representationOf(ast) ?? "") ? copyAny : undefined
  switch (representationOf(ast)) {
    case "effect/schema/Option":
      return (value) => (Option.isOption(value) ? Option.map(value, one) : value)
    case "effect/schema/Result":
      return (value) =>
        Result.isResult(value) ? Result.mapBoth(value, { onSuccess: one, onFailure: other ?? share }) : value
    case "effect/schema/Redacted":
      return (value) =>
        Redacted.isRedacted(value) ? Redacted.make(one(Redacted.value(value)), { label: value.label }) : value
    case "effect/schema/Chunk":
      return (value) => (Chunk.isChunk(value) ? Chunk.map(value, one) : value)
    case "effect/schema/HashMap":
      return (value) => (HashMap.isHashMap(value) ? HashMap.map(value, other ?? share) : value)
    case "effect/schema/HashSet":
      return (value) => (HashSet.isHashSet(value) ? HashSet.map(value, one) : value)
    case "effect/schema/ReadonlyMap":
      return (value) =>
        isExactly(value, Map) ? new Map([...value].map(([key, item]) => [one(key), (other ?? share)(item)])) : value
    case "effect/schema/ReadonlySet":
      return (value) => (isExactly(value, Set) ? new Set([...value].map(one)) : value)
    default:
      return undefined
  }
}

const share: Copy = (value) => value

/** A `Schema.Class` constructs another of its kind itself, with all its fields. A class that refuses to is shared. */
const classCopier = (copyFields: Copy | undefined): Copy | undefined =>
  copyFields &&
  ((value) => {
    if (typeof value !== "object" || value === null) return value
    try {
      const Class = value.constructor as new (fields: unknown) => object
      const made = new Class(copyFields({ ...value }))
      return Object.getPrototypeOf(made) === Object.getPrototypeOf(value) ? made : value
    } catch {
      return value
    }
  })

const isExactly = <A extends object>(value: unknown, Class: new () => A): value is A =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Class.prototype

/** Copies values that consist of JavaScript's own types, whatever they are. Values of other classes are shared. */
const copyAny: Copy = (value) => copyParts(value, new Map())

/** `copies`: what was copied already, so that a part which occurs twice is one part in the copy too. */
const copyParts = (value: unknown, copies: Map<unknown, unknown>): unknown => {
  if (typeof value !== "object" || value === null) return value
  const known = copies.get(value)
  if (known !== undefined) return known
  const remember = <A>(made: A): A => {
    copies.set(value, made)
    return made
  }
  const own = (part: unknown) => copyParts(part, copies)
  switch (Object.getPrototypeOf(value)) {
    case Object.prototype:
    case null: {
      const made: object = remember(Object.create(Object.getPrototypeOf(value)))
      for (const [name, part] of Object.entries(value)) set(made, name, own(part))
      return made
    }
    case Array.prototype: {
      const made: Array<unknown> = remember([])
      for (const item of value as ReadonlyArray<unknown>) made.push(own(item))
      return made
    }
    case Date.prototype:
      return remember(new Date((value as Date).getTime()))
    case Map.prototype: {
      const made = remember(new Map<unknown, unknown>())
      for (const [key, item] of value as ReadonlyMap<unknown, unknown>) made.set(own(key), own(item))
      return made
    }
    case Set.prototype: {
      const made = remember(new Set<unknown>())
      for (const item of value as ReadonlySet<unknown>) made.add(own(item))
      return made
    }
    case URL.prototype:
      return remember(new URL((value as URL).href))
    case URLSearchParams.prototype:
      return remember(new URLSearchParams(value as URLSearchParams))
    case RegExp.prototype: {
      const { source, flags, lastIndex } = value as RegExp
      return remember(Object.assign(new RegExp(source, flags), { lastIndex }))
    }
    default:
      return isTypedArray(value) ? remember(TypedArray.prototype.slice.call(value)) : value
  }
}

const TypedArray: { readonly prototype: Uint8Array } = Object.getPrototypeOf(Uint8Array)

const isTypedArray = (value: object): value is Uint8Array => ArrayBuffer.isView(value) && !(value instanceof DataView)
