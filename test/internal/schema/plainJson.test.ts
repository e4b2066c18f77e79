import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Option, Schema, SchemaTransformation } from "effect"
import { plainJson } from "../../../src/internal/schema/plainJson.ts"

/** The schemas that events and states mostly consist of. */
const plain = {
  strings: Schema.String,
  "strings that are checked": Schema.NonEmptyString.check(Schema.isMaxLength(3)),
  "several checks in one": Schema.Int.check(Schema.isGreaterThan(0).and(Schema.isLessThan(2))),
  brands: Schema.String.pipe(Schema.brand("Name")),
  numbers: Schema.Number,
  "finite numbers": Schema.Finite,
  integers: Schema.Int,
  literals: Schema.Literals(["a", 1, true]),
  nulls: Schema.NullOr(Schema.Boolean),
  structs: Schema.Struct({ a: Schema.String, b: Schema.Int }),
  "structs that are checked": Schema.Struct({ a: Schema.Int, b: Schema.Int }).check(
    Schema.makeFilter(({ a, b }) => a <= b)
  ),
  "optional keys": Schema.Struct({ a: Schema.optionalKey(Schema.String), b: Schema.optional(Schema.Int) }),
  "nested structs": Schema.Struct({ a: Schema.Struct({ a: Schema.NullOr(Schema.String) }) }),
  "a struct or nothing": Schema.NullOr(Schema.Struct({ a: Schema.String })),
  arrays: Schema.Array(Schema.Struct({ a: Schema.Boolean })),
  "arrays that are checked": Schema.Array(Schema.Int).check(Schema.isMinLength(1)),
  nothing: Schema.Struct({})
}

/** Values that must be left to the schema. */
const others = {
  bigints: Schema.BigInt,
  dates: Schema.Struct({ a: Schema.Date }),
  options: Schema.Option(Schema.String),
  records: Schema.Record(Schema.String, Schema.String),
  "a struct and a record": Schema.StructWithRest(Schema.Struct({ a: Schema.String }), [
    Schema.Record(Schema.String, Schema.String)
  ]),
  tuples: Schema.Tuple([Schema.String, Schema.Int]),
  "tuples without end": Schema.TupleWithRest(Schema.Tuple([Schema.String]), [Schema.Int]),
  "tuples with an end": Schema.TupleWithRest(Schema.Tuple([]), [Schema.String, Schema.Int]),
  "several structs": Schema.Union([
    Schema.Struct({ a: Schema.String }),
    Schema.Struct({ a: Schema.String, b: Schema.Int })
  ]),
  "structs inside of unions": Schema.Union([
    Schema.NullOr(Schema.Struct({ a: Schema.String })),
    Schema.Struct({ a: Schema.String, b: Schema.Int })
  ]),
  "one of": Schema.Union([Schema.String, Schema.NonEmptyString], { mode: "oneOf" }),
  "null or undefined": Schema.Struct({ a: Schema.optional(Schema.NullOr(Schema.String)) }),
  "null or undefined, one in the other": Schema.NullOr(Schema.UndefinedOr(Schema.String)),
  "a number or text": Schema.Union([Schema.Number, Schema.String]),
  "a number or a word": Schema.Union([Schema.Number, Schema.Literal("NaN")]),
  "undefined or null": Schema.Struct({ a: Schema.Union([Schema.Undefined, Schema.Null]) }),
  "renamed keys": Schema.Struct({ a: Schema.String }).pipe(Schema.encodeKeys({ a: "b" })),
  defaults: Schema.Struct({ a: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("x"))) }),
  transformations: Schema.Struct({ a: Schema.String.pipe(Schema.decode(SchemaTransformation.trim())) }),
  "options of its own": Schema.Struct({ a: Schema.String }).annotate({ parseOptions: { onExcessProperty: "error" } }),
  "inherited names": Schema.Struct({ toString: Schema.optionalKey(Schema.String) }),
  anything: Schema.Unknown
}

type Value = string | number | boolean | null | ReadonlyArray<Value> | { readonly [Key in string]?: Value }

const scalars = Arbitrary.schema(
  Schema.Union([
    Schema.Literals(["", "a", "abcd", " x ", "NaN", "Infinity", "1970-01-01T00:00:00.000Z", "12"]),
    Schema.Literals([0, 1, 2, -1, 0.5, 2 ** 53]),
    Schema.Boolean,
    Schema.Null
  ])
) as Arbitrary.Arbitrary<Value>

const oneOf = (...choices: ReadonlyArray<Arbitrary.Arbitrary<Value>>): Arbitrary.Arbitrary<Value> =>
  Arbitrary.flatMap(
    Arbitrary.schema(Schema.Literals(choices.map((_, i) => i))),
    (i) => choices[i] as Arbitrary.Arbitrary<Value>
  )

/** The number as which `1e999` is read. */
const infinite = Arbitrary.Constant<Value>(Infinity)

const nest = (values: Arbitrary.Arbitrary<Value>): Arbitrary.Arbitrary<Value> =>
  oneOf(
    values,
    Arbitrary.map(values, (a): Value => ({ a })),
    Arbitrary.map(values, (b): Value => ({ b })),
    Arbitrary.map(Arbitrary.all([values, values]), ([a, b]): Value => ({ a, b })),
    Arbitrary.map(Arbitrary.all([values, values]), ([b, a]): Value => ({ b, a })),
    Arbitrary.map(Arbitrary.all([values, values]), ([a, toString]): Value => ({ a, toString })),
    Arbitrary.array(values, { maxLength: 3 })
  )

/** JSON values that resemble those of the schemas, and hardly ever match them. */
const json = nest(nest(oneOf(scalars, scalars, infinite)))

describe("plain JSON", () => {
  const schemas: Readonly<Record<string, Schema.Codec<unknown, unknown>>> = { ...plain, ...others }
  for (const [name, schema] of Object.entries(schemas)) {
    const isPlain = plainJson(schema.ast)
    const decode = Schema.decodeUnknownOption(Schema.toCodecJson(schema))

    it.prop(
      `${name}: values that are found plain are decoded unchanged by the schema`,
      [json],
      ([value]) => {
        if (isPlain?.(value)) assert.deepStrictEqual(decode(value), Option.some(value))
      },
      { arbitrary: { runs: 500 } }
    )
  }

  for (const [name, schema] of Object.entries<Schema.Codec<unknown, unknown>>(plain)) {
    const encode = Schema.encodeUnknownSync(Schema.toCodecJson(schema))

    it.prop(`${name}: are found plain`, [Arbitrary.schema(schema)], ([value]) => {
      const encoded = JSON.parse(JSON.stringify(encode(value))) as unknown
      // NaN and undefined have other forms
      if (JSON.stringify(encoded) !== JSON.stringify(value)) return
      assert.isTrue(plainJson(schema.ast)?.(encoded))
    })
  }

  it("a value that is not a plain object is left to the schema", () => {
    const isPlain = plainJson(Schema.Struct({}).ast)
    assert.deepStrictEqual(
      [{}, new Date(0), new Map(), Object.create(null), []].map((value) => isPlain?.(value)),
      [true, false, false, false, false]
    )
  })
})
