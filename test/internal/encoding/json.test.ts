import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Json from "../../../src/internal/encoding/json.ts"

const Key = Schema.Array(
  Schema.Literals(["\\", '"', "\n", "\t", "a", "\u0001", "\ud800", "\ue000", "{", ":", " ", "__proto__", "0"])
)
interface Nested {
  readonly [key: string]: Nested | string
}

/** Nested objects and arrays whose keys and texts consist of these characters. */
const nest = (keys: ReadonlyArray<ReadonlyArray<string>>): Nested | string =>
  keys.reduceRight<Nested | string>(
    (inner, key, i) =>
      Object.fromEntries([
        [key.join(""), inner],
        [`${key.join("")}${i}`, key.join("")]
      ]),
    ""
  )

describe("JSON text", () => {
  it.prop(
    "is parsed to what was written, whatever keys came before",
    [Schema.Array(Key)],
    ([keys]) => {
      const value = [nest(keys), { list: [nest(keys.toReversed())] }]
      for (const space of [0, 1]) {
        const text = JSON.stringify(value, undefined, space)
        assert.strictEqual(JSON.stringify(Json.parse(text), undefined, space), text)
      }
    },
    { arbitrary: { runs: 2000 } }
  )

  it("accepts an object nested deeper than the stack", () => {
    const depth = 100_000
    const text = `${'{"\\n":'.repeat(depth)}1${"}".repeat(depth)}`
    let found = Json.parse(text)
    for (let i = 0; i < depth; i++) found = (found as { readonly "\n": unknown })["\n"]
    assert.strictEqual(found, 1)
  })

  it.each(['{"a\\x":1}', '{"a\\n":}', '{"a\\n"', '{"a\\n":1}}', '"\\', '{"a\\', "\\"])("refuses %j", (text) => {
    assert.throws(() => Json.parse(text), SyntaxError)
  })

  it.each([
    ['{"a":"b\\n"}', false],
    ['{"a\\n":1}', true],
    ['["a\\\\", {"b":1}]', false],
    ['["a\\\\", {"b\\"" :1}]', true],
    ["{}", false]
  ] as const)("detects whether a key of %s is written with an escape", (text, expected) => {
    assert.strictEqual(Json.hasEscapedKey(text), expected)
  })
})
