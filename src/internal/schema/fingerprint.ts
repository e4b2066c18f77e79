/**
 * Tells whether a schema is the same as before: a short text computed from its parts, which is the same in every
 * process.
 */
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import type { Schema } from "effect"
import { SchemaAST } from "effect"

const known = new WeakMap<SchemaAST.AST, string>()

/** 16 hexadecimal digits. Descriptions and the code of transformations are not part of it. */
export const fingerprint = ({ ast }: Schema.Constraint): string => {
  const found = known.get(ast)
  if (found !== undefined) return found
  const made = bytesToHex(sha256(utf8ToBytes(JSON.stringify(describe(ast, new Map()))))).slice(0, 16)
  known.set(ast, made)
  return made
}

const MOST = 1000

type Description = string | number | boolean | null | ReadonlyArray<Description>

/** `seen`: the schemas that were described, in that order. A recursive one is referred to by its number. */
const describe = (ast: SchemaAST.AST, seen: Map<SchemaAST.AST, number>): Description => {
  const number = seen.get(ast)
  if (number !== undefined) return number
  // a schema that creates a new schema at each step has no end
  if (seen.size === MOST) return "…"
  seen.set(ast, seen.size)
  const of = (part: SchemaAST.AST) => describe(part, seen)
  const encoding = (ast.encoding ?? []).map(({ to }) => of(to))
  const checks = (ast.checks ?? []).map(describeCheck)
  return [ast._tag, SchemaAST.isOptional(ast), describeNode(ast, of), checks, encoding]
}

const describeNode = (ast: SchemaAST.AST, of: (part: SchemaAST.AST) => Description): Description => {
  switch (ast._tag) {
    case "Objects": {
      const properties = ast.propertySignatures.map(({ name, type }): readonly [string, SchemaAST.AST] => [
        String(name),
        type
      ])
      properties.sort(([a], [b]) => (a < b ? -1 : 1))
      return [
        properties.map(([name, type]) => [name, of(type)]),
        ast.indexSignatures.map(({ parameter, type }) => [of(parameter), of(type)])
      ]
    }
    case "Arrays":
      return [ast.elements.map(of), ast.rest.map(of)]
    case "Union":
      return ast.types.map(of)
    case "Suspend":
      return of(ast.thunk())
    case "Declaration":
      return [nameOf(ast), ast.typeParameters.map(of)]
    case "Literal":
      return [typeof ast.literal, String(ast.literal)]
    case "UniqueSymbol":
      return String(ast.symbol)
    case "Enum":
      return ast.enums.map(([name, value]) => [name, value])
    case "TemplateLiteral":
      return ast.parts.map(of)
    default:
      return null
  }
}

const nameOf = ({ annotations }: SchemaAST.Declaration): string => {
  const { representation, identifier } = (annotations ?? {}) as Schema.Annotations.Declaration<unknown>
  return representation?.id ?? identifier ?? ""
}

const describeCheck = (check: SchemaAST.Check<unknown>): Description => {
  if (check._tag === "FilterGroup") return check.checks.map(describeCheck)
  const { representation } = check.annotations ?? {}
  return [
    representation?.id ?? "",
    JSON.stringify(representation ?? null, (_, value) => (typeof value === "bigint" ? `${value}` : value))
  ]
}
