/**
 * A codec to JSON that leaves out properties whose value is `undefined`.
 *
 * `Schema.toCodecJson` writes `undefined` as `null`, which is a different value wherever `null` is allowed too. A
 * property that may be missing is left out instead. What was written as `null` before still decodes as it did.
 */
import { Option, Schema, SchemaAST, SchemaGetter, SchemaTransformation } from "effect"

/** Rewrites a codec that `Schema.toCodecJson` has derived. */
export const withoutUndefined = (codec: Schema.ConstraintCodec<unknown, unknown>): typeof codec =>
  Schema.make<typeof codec>(rewrite(codec.ast))

const rewritten = new WeakMap<SchemaAST.AST, SchemaAST.AST>()

const rewrite = (ast: SchemaAST.AST): SchemaAST.AST => {
  const known = rewritten.get(ast)
  if (known !== undefined) return known
  const made = ast.encoding === undefined ? rewriteNode(ast) : rewriteLastLink(ast, ast.encoding)
  rewritten.set(ast, made)
  return made
}

/** Rewrites the last step of an encoding, whose result is what is written. */
const rewriteLastLink = (ast: SchemaAST.AST, encoding: SchemaAST.Encoding): SchemaAST.AST => {
  const last = encoding[encoding.length - 1] as SchemaAST.Link
  const to = rewrite(last.to)
  if (to === last.to) return ast
  const copy: SchemaAST.AST = Object.create(Object.getPrototypeOf(ast), Object.getOwnPropertyDescriptors(ast))
  const links = [...encoding.slice(0, -1), new SchemaAST.Link(to, last.transformation)]
  return Object.assign(copy, { encoding: links })
}

const rewriteNode = (ast: SchemaAST.AST): SchemaAST.AST => {
  switch (ast._tag) {
    case "Objects": {
      const properties = ast.propertySignatures.map(
        ({ name, type }) => new SchemaAST.PropertySignature(name, rewriteProperty(type))
      )
      const indexes = ast.indexSignatures.map(
        ({ parameter, type }) => new SchemaAST.IndexSignature(parameter, rewrite(type))
      )
      const isSame =
        properties.every(({ type }, i) => type === ast.propertySignatures[i]?.type) &&
        indexes.every(({ type }, i) => type === ast.indexSignatures[i]?.type)
      return isSame
        ? ast
        : new SchemaAST.Objects(
            properties,
            indexes,
            ast.annotations,
            ast.checks,
            ast.encoding,
            ast.context,
            ast.encodingChecks
          )
    }
    case "Arrays": {
      const [elements, rest] = [ast.elements.map(rewrite), ast.rest.map(rewrite)]
      return isSameList(elements, ast.elements) && isSameList(rest, ast.rest)
        ? ast
        : new SchemaAST.Arrays(
            ast.isMutable,
            elements,
            rest,
            ast.annotations,
            ast.checks,
            ast.encoding,
            ast.context,
            ast.encodingChecks
          )
    }
    case "Union": {
      const types = ast.types.map(rewrite)
      return isSameList(types, ast.types)
        ? ast
        : new SchemaAST.Union(
            types,
            ast.options,
            ast.annotations,
            ast.checks,
            ast.encoding,
            ast.context,
            ast.encodingChecks
          )
    }
    case "Suspend":
      return new SchemaAST.Suspend(() => rewrite(ast.thunk()), ast.annotations, ast.checks, ast.encoding, ast.context)
    default:
      return ast
  }
}

const isSameList = (some: ReadonlyArray<unknown>, others: ReadonlyArray<unknown>): boolean =>
  some.every((one, i) => one === others[i])

const isUndefined = (value: unknown): boolean => value === undefined

const leaveOut = SchemaGetter.transformOptional((value: Option.Option<unknown>) =>
  Option.filter(value, (some) => !isUndefined(some))
)

/** For a property that may be missing: a missing one stays missing. */
const optional = new SchemaTransformation.Transformation(SchemaGetter.passthrough<unknown>(), leaveOut)

/** For a property that must be present: one that is missing in JSON is `undefined`. */
const required = new SchemaTransformation.Transformation(
  SchemaGetter.transformOptional((value: Option.Option<unknown>) => Option.orElseSome(value, () => undefined)),
  leaveOut
)

/** Leaves the property out if it is `undefined`, provided that the type allows it. */
const rewriteProperty = (type: SchemaAST.AST): SchemaAST.AST => {
  const made = rewrite(type)
  if (!acceptsUndefined(type)) return made
  const { isOptional = false, isMutable = false } = type.context ?? {}
  // a property that must be present, and whose null represents no other value, is written as before
  if (!isOptional && decodesToUndefined(type, null)) return made
  const encoded = isOptional ? made : withContext(made, new SchemaAST.Context(true, isMutable))
  const link = new SchemaAST.Link(encoded, isOptional ? optional : required)
  return new SchemaAST.Unknown(undefined, undefined, [link], new SchemaAST.Context(isOptional, isMutable))
}

const withContext = (ast: SchemaAST.AST, context: SchemaAST.Context): SchemaAST.AST =>
  Object.assign(Object.create(Object.getPrototypeOf(ast), Object.getOwnPropertyDescriptors(ast)), { context })

/** A check of the user's may throw on a value for which it was not written: the value is then not accepted. */
const acceptsUndefined = (ast: SchemaAST.AST): boolean => {
  try {
    return Schema.is(Schema.make<Schema.ConstraintCodec<unknown, unknown>>(SchemaAST.toType(ast)))(undefined)
  } catch {
    return false
  }
}

const decodesToUndefined = (ast: SchemaAST.AST, json: unknown): boolean => {
  try {
    const decoded = Schema.decodeUnknownOption(Schema.make<Schema.ConstraintCodec<unknown, unknown>>(ast))(json)
    return Option.isSome(decoded) && decoded.value === undefined
  } catch {
    return false
  }
}
