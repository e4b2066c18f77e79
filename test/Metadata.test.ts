import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Tracer } from "effect"
import { Metadata } from "effect-eventsourcing"

const optional = Schema.UndefinedOr(Schema.String)
const attributes = Schema.Record(Schema.String, Schema.String)

const isFlat = Schema.is(attributes)

const current = Effect.map(Effect.context<never>(), Metadata.current)

describe("Metadata", () => {
  it.prop(
    "reads back what it wrote, as a flat JSON object of strings",
    { correlationId: optional, causationId: optional, traceParent: optional, attributes },
    ({ attributes, ...ids }) => {
      const users = Object.fromEntries(Object.entries(attributes).filter(([key]) => !/^\$|\\/.test(key)))
      const stored = Metadata.toStored({ ...ids, attributes: users })
      assert.deepStrictEqual(Metadata.fromStored(stored), { ...ids, attributes: users })
      assert.isTrue(isFlat(JSON.parse(stored)))
    }
  )

  it("keeps attributes with the names of object members as they are", () => {
    const odd: Record<string, string> = JSON.parse('{"__proto__":"a","constructor":"b","toString":"c","":"d"}')
    const { attributes } = Metadata.fromStored(Metadata.toStored({ ...Metadata.empty, attributes: odd }))
    assert.deepStrictEqual(Object.entries(attributes), Object.entries(odd))
    assert.strictEqual(Object.getPrototypeOf(attributes), Object.prototype)
  })

  it("keeps text that is not well-formed Unicode", () => {
    const metadata = { ...Metadata.empty, correlationId: "a\ud800b" }
    assert.isTrue(Metadata.toStored(metadata).isWellFormed())
    assert.strictEqual(Metadata.fromStored(Metadata.toStored(metadata)).correlationId, "a\ud800b")
  })

  it("refuses attributes whose key begins with $", () => {
    const metadata = { ...Metadata.empty, attributes: { $correlationId: "forged" } }
    assert.throws(() => Metadata.toStored(metadata), '"$correlationId": keys that begin with "$" are reserved')
  })

  it("reads back keys that are written with an escape as they are", () => {
    for (const key of ["a\\t", "a\\\\", 'a"', "a\n", "a\t"]) {
      const metadata = { ...Metadata.empty, attributes: { [key]: "x", b: "y" } }
      assert.deepStrictEqual(Metadata.fromStored(Metadata.toStored(metadata)).attributes, metadata.attributes)
    }
  })

  it.each([
    ["a number", 7, "a value of type number"],
    ["null", null, "null"],
    ["a header that was repeated", ["a", "b"], "a value of the class Array"],
    ["an object", { id: 1 }, "a value of the class Object"],
    ["a bigint", 5n, "a value of type bigint"]
  ])("refuses ids and attributes that are %s", (_, value, found) => {
    for (const [given, name] of [
      [{ correlationId: value }, "correlation id"],
      [{ causationId: value }, "causation id"],
      [{ attributes: { age: value } }, 'attribute "age"']
    ] as const) {
      // @ts-expect-error not a string
      const metadata: Metadata.Metadata = { ...Metadata.empty, ...given }
      assert.throws(() => Metadata.toStored(metadata), `the metadata's ${name} must be a string, got ${found}`)
    }
  })

  it.each([null, ["a"], new Map([["a", "b"]]), "a"])("refuses attributes that are %o", (attributes) => {
    // @ts-expect-error not a record
    const metadata: Metadata.Metadata = { ...Metadata.empty, attributes }
    assert.throws(() => Metadata.toStored(metadata), "metadata attributes must be a record of strings")
  })

  it.each(["", "null", "7", '"text"', "{", '["a"]'])("refuses %j, which is not a JSON object", (text) => {
    assert.throws(() => Metadata.fromStored(text))
  })

  it.effect("is empty if nothing is set", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* current, Metadata.empty)
      assert.strictEqual(Metadata.toStored(yield* current), "{}")
    })
  )

  it.effect("is the metadata set for the scope, the innermost first", () =>
    Effect.gen(function* () {
      const inner = yield* current.pipe(Effect.provideService(Metadata.CausationId, "inner"))
      assert.deepStrictEqual(inner, {
        correlationId: "request-7",
        causationId: "inner",
        traceParent: undefined,
        attributes: { user: "ada" }
      })
      assert.strictEqual((yield* current).causationId, "outer")
    }).pipe(
      Effect.provideService(Metadata.CorrelationId, "request-7"),
      Effect.provideService(Metadata.CausationId, "outer"),
      Effect.provideService(Metadata.Attributes, { user: "ada" })
    )
  )

  it.effect.each([
    [true, "01"],
    [false, "00"]
  ] as const)("has the current span as a W3C traceparent, sampled or not (%s)", ([sampled, flags]) =>
    Effect.gen(function* () {
      const span = Tracer.externalSpan({
        traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
        spanId: "00f067aa0ba902b7",
        sampled
      })
      const { traceParent } = yield* Effect.withParentSpan(current, span)
      // the example from the W3C recommendation
      assert.strictEqual(traceParent, `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-${flags}`)
    })
  )

  it.effect("can't be forged by a span whose ids come from outside", () =>
    Effect.gen(function* () {
      const span = Tracer.externalSpan({ traceId: '","$correlationId":"forged', spanId: '"', sampled: true })
      const read = Metadata.fromStored(Metadata.toStored(yield* Effect.withParentSpan(current, span)))
      assert.strictEqual(read.correlationId, undefined)
    })
  )

  it.effect("has a traceparent of the right form for spans of Effect", () =>
    Effect.gen(function* () {
      const { traceParent } = yield* Effect.withSpan(current, "work")
      assert.match(traceParent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/)
    })
  )
})
