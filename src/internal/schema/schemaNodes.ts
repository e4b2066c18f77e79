/** Questions about the nodes of a schema that several modules ask. */
import type { Schema } from "effect"
import { SchemaAST } from "effect"

/** More nodes than any schema has that a person wrote: a schema that creates a new schema at each step has no end. */
const MOST = 10_000

/** Whether a node of a schema, or one within it, satisfies a predicate. A schema without an end is assumed to. */
export const reaches = (root: SchemaAST.AST, isSuch: (ast: SchemaAST.AST) => boolean): boolean => {
  const seen = new Set<SchemaAST.AST>()
  const open = [root]
  for (let ast = open.pop(); ast !== undefined; ast = open.pop()) {
    if (seen.has(ast)) continue
    if (seen.size === MOST || isSuch(ast)) return true
    seen.add(ast)
    open.push(...partsOf(ast))
  }
  return false
}

const partsOf = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> => {
  switch (ast._tag) {
    case "Objects":
      return [...ast.propertySignatures.map(({ type }) => type), ...ast.indexSignatures.map(({ type }) => type)]
    case "Arrays":
      return [...ast.elements, ...ast.rest]
    case "Union":
      return ast.types
    case "Suspend":
      return [ast.thunk()]
    case "Declaration":
      return ast.typeParameters
    default:
      return []
  }
}

/** The fields of a `Schema.Class`, which are what is written of it. */
export const fieldsOfClass = (ast: SchemaAST.AST): SchemaAST.Objects | undefined => {
  if (!SchemaAST.isDeclaration(ast)) return undefined
  const [fields, ...others] = ast.typeParameters
  if (fields === undefined || others.length > 0 || !SchemaAST.isObjects(fields)) return undefined
  // the encoding of a class itself is that of its fields; anything else was added on top of it
  const isItself = ast.encoding === undefined || (ast.encoding.length === 1 && ast.encoding[0].to === fields)
  return isItself && annotationsOf(ast)["~constructor"] !== undefined ? fields : undefined
}

const annotationsOf = ({ annotations }: SchemaAST.Declaration): Schema.Annotations.Declaration<unknown> =>
  (annotations ?? {}) as Schema.Annotations.Declaration<unknown>

/** How a declared schema is written as JSON: the function as text, since every schema with parameters has its own. */
const codecOf = (ast: SchemaAST.Declaration): string =>
  String(annotationsOf(ast).toCodecJson ?? annotationsOf(ast).toCodec)

/** Whether a declared schema is one of these schemas of Effect, and is written as Effect writes it. */
export const isOneOf = (schemas: () => ReadonlyArray<Schema.Constraint>): ((ast: SchemaAST.Declaration) => boolean) => {
  let known: ReadonlyMap<string | undefined, string> | undefined
  return (ast) => {
    known ??= new Map(
      schemas().flatMap(({ ast }) =>
        SchemaAST.isDeclaration(ast) ? [[representationOf(ast), codecOf(ast)] as const] : []
      )
    )
    const id = representationOf(ast)
    return id !== undefined && known.get(id) === codecOf(ast)
  }
}

/** What identifies a declared schema of Effect. */
export const representationOf = (ast: SchemaAST.Declaration): string | undefined =>
  annotationsOf(ast).representation?.id
