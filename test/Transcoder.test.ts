import { assert, describe, it } from "@effect/vitest"
import { decode, encode } from "@msgpack/msgpack"
import { Arbitrary, Context, DateTime, Effect, Equal, Layer, Schema, SchemaTransformation, Stream } from "effect"
import type { Evolution } from "effect-eventsourcing"
import { Aggregate, Cipher, Compressor, Mapper, Recorder, Transcoder } from "effect-eventsourcing"
import { makeLog, open } from "./support/memoryLog.ts"

const msgpack: Transcoder.Format = {
  name: "msgpack",
  encode: (json) => encode(json),
  decode: (payload) => decode(payload as Uint8Array)
}

const mapper = (transcoder: Layer.Layer<Transcoder.Transcoder>) =>
  Mapper.layer.pipe(Layer.provide([transcoder, Compressor.layerNone, Cipher.layerNone]))

const mappers = [
  ["json", Mapper.layerJson],
  ["msgpack", mapper(Transcoder.layer(msgpack))]
] as const

/** An aggregate with one event, which carries a value of a schema. */
const boxOf = <S extends Evolution.AnySchema>(value: S) =>
  Aggregate.make("Box", {
    state: Schema.Struct({}),
    creation: { Filled: Schema.Struct({ value }) },
    events: { Emptied: {} },
    reduce: { Filled: () => ({}), Emptied: (box) => box }
  })

/** Appends values, each to a stream of its own, and reads all of them back. */
const throughLog = Effect.fnUntraced(function* (
  Box: Aggregate.Any,
  layer: Layer.Layer<Mapper.Mapper>,
  values: ReadonlyArray<unknown>
) {
  const { store } = yield* open(yield* makeLog, { mapper: layer })
  const answered: Array<unknown> = []
  for (const [i, value] of values.entries()) {
    const events = [{ _tag: "Filled", value }] as never
    const answer = yield* store.append(Box, `${i}` as never, { expected: "NoStream", events })
    answered.push(answer?.events[0]?.event)
  }
  const read = yield* Stream.runCollect(store.readAll([Box]))
  const found = read.map(({ event }) => event) as ReadonlyArray<unknown>
  // what an append returns is what every later reader gets
  assert.deepStrictEqual(answered, found)
  return found as ReadonlyArray<{ readonly value: unknown }>
})

/** Every value of the schema survives a real append and read unchanged, in both formats. */
const roundTrips = <A>(
  name: string,
  schema: Schema.Codec<A, unknown>,
  values: Arbitrary.Arbitrary<A> = Arbitrary.schema(schema)
) => {
  const Box = boxOf(schema)
  const same = Schema.toEquivalence(schema)
  for (const [format, layer] of mappers) {
    it.effect.prop(
      `${name} as ${format}`,
      [values],
      Effect.fnUntraced(function* ([value]) {
        const [found] = yield* throughLog(Box, layer, [value])
        assert.isTrue(same(found?.value as A, value))
      }),
      { arbitrary: { runs: 40 } }
    )
  }
}

const Money = Schema.Struct({ currency: Schema.Literals(["EUR", "CHF"]), cents: Schema.BigInt })

class Temperature {
  readonly kelvin: number
  constructor(kelvin: number) {
    this.kelvin = kelvin
  }
}
/** A user's own class, encoded as text such as `293.5K`. */
const TemperatureSchema = Schema.declare((u): u is Temperature => u instanceof Temperature, {
  toCodecJson: () =>
    Schema.link<Temperature>()(
      Schema.String,
      SchemaTransformation.transform({
        decode: (text) => new Temperature(Number.parseFloat(text)),
        encode: ({ kelvin }) => `${kelvin}K`
      })
    )
})

class Point extends Schema.Class<Point>("Point")({ x: Schema.Finite, y: Schema.Finite }) {
  get length() {
    return Math.hypot(this.x, this.y)
  }
}

describe("values that Effect has a codec for come back unchanged", () => {
  roundTrips("String", Schema.String)
  roundTrips("Boolean", Schema.Boolean)
  roundTrips("Null", Schema.Null)
  roundTrips("Number, with NaN and the infinities", Schema.Number)
  roundTrips("Finite", Schema.Finite)
  roundTrips("Int", Schema.Int)
  roundTrips("BigInt", Schema.BigInt)
  roundTrips("Uint8Array", Schema.Uint8Array)
  roundTrips("DateTimeUtc", Schema.DateTimeUtc)
  roundTrips("Date", Schema.Date)
  roundTrips("Duration", Schema.Duration)
  roundTrips("BigDecimal", Schema.BigDecimal)
  roundTrips("URL", Schema.URL)
  roundTrips("UUID", Schema.String.check(Schema.isUUID()))
  roundTrips("a branded string", Schema.NonEmptyString.pipe(Schema.brand("Sku")))
  roundTrips("Option", Schema.Option(Schema.BigInt))
  roundTrips("Option of Option", Schema.Option(Schema.Option(Schema.String)))
  roundTrips("NullOr", Schema.NullOr(Schema.DateTimeUtc))
  roundTrips("UndefinedOr", Schema.UndefinedOr(Schema.Duration))
  roundTrips("Result", Schema.Result(Schema.BigInt, Schema.String))
  roundTrips("Literals", Schema.Literals(["a", "b", 3, true]))
  roundTrips("Array", Schema.Array(Schema.BigDecimal))
  roundTrips("Tuple", Schema.Tuple([Schema.BigInt, Schema.Date, Schema.optionalKey(Schema.String)]))
  // MessagePack's decoder refuses one of these keys
  roundTrips(
    "Record",
    Schema.Record(Schema.String.check(Schema.makeFilter((key: string) => key !== "__proto__")), Schema.BigInt)
  )
  roundTrips("HashMap", Schema.HashMap(Schema.String, Schema.DateTimeUtc))
  roundTrips("ReadonlySet", Schema.ReadonlySet(Schema.BigInt))
  roundTrips("a class", Point)
  roundTrips("nested structs", Schema.Struct({ price: Money, parts: Schema.Array(Schema.Struct({ price: Money })) }))
  roundTrips(
    "a tagged union",
    Schema.Union([
      Schema.TaggedStruct("Circle", { radius: Schema.BigInt }),
      Schema.TaggedStruct("Line", { from: Schema.Date, to: Schema.Option(Schema.Date) })
    ])
  )
  roundTrips(
    "a user's own type",
    TemperatureSchema,
    Arbitrary.map(Arbitrary.schema(Schema.Finite), (k) => new Temperature(k))
  )

  it.effect("optional keys stay absent", () =>
    Effect.gen(function* () {
      const Box = boxOf(Schema.Struct({ note: Schema.optionalKey(Schema.String), at: Schema.optional(Schema.Date) }))
      const values = [{}, { note: "a" }, { note: "", at: new Date(0) }, { at: undefined }]
      const found = yield* throughLog(Box, Mapper.layerJson, values)
      assert.deepStrictEqual(
        found.map(({ value }) => value),
        [{}, { note: "a" }, { note: "", at: new Date(0) }, {}]
      )
    })
  )

  it.effect.each(mappers)("numbers at the edges, as %s", ([, layer]) =>
    Effect.gen(function* () {
      const values = [Number.NaN, Infinity, -Infinity, -0, Number.MIN_VALUE, Number.MAX_VALUE, 2 ** 53 + 2, 0.1 + 0.2]
      const found = yield* throughLog(boxOf(Schema.Number), layer, values)
      // JSON has no -0, and the codec makes it 0 for every format
      const expected = values.map((value) => (value === 0 ? 0 : value))
      assert.deepStrictEqual(
        found.map(({ value }) => value),
        expected
      )
    })
  )

  it.effect("members named like those of every object", () =>
    Effect.gen(function* () {
      const value: Record<string, number> = JSON.parse('{"__proto__":1,"constructor":2,"hasOwnProperty":3,"":4}')
      const [found] = yield* throughLog(boxOf(Schema.Record(Schema.String, Schema.Int)), Mapper.layerJson, [value])
      assert.deepStrictEqual(Object.entries(found?.value as object), Object.entries(value))
    })
  )

  it.effect("a date with its time zone", () =>
    Effect.gen(function* () {
      const value = DateTime.makeZonedUnsafe(Date.UTC(2026, 5, 1), { timeZone: "Europe/Zurich" })
      const [found] = yield* throughLog(boxOf(Schema.DateTimeZoned), Mapper.layerJson, [value])
      assert.isTrue(Equal.equals(found?.value, value))
    })
  )

  it.effect("an instance of a class comes back as one, and so does a user's own type", () =>
    Effect.gen(function* () {
      const [point] = yield* throughLog(boxOf(Point), Mapper.layerJson, [new Point({ x: 3, y: 4 })])
      assert.instanceOf(point?.value, Point)
      assert.propertyVal(point?.value, "length", 5)
      const [warm] = yield* throughLog(boxOf(TemperatureSchema), Mapper.layerJson, [new Temperature(293.5)])
      assert.deepStrictEqual(warm?.value, new Temperature(293.5))
    })
  )

  it.effect("text that is not well-formed Unicode comes back unit by unit as JSON", () =>
    Effect.gen(function* () {
      const values = ["\ud800", "a\udc00b", "\udc00\ud800", `${"x".repeat(300)}\ud800`, "\u2028\u0000🐕"]
      const found = yield* throughLog(boxOf(Schema.String), Mapper.layerJson, values)
      assert.deepStrictEqual(
        found.map(({ value }) => value),
        values
      )
    })
  )
})

it.effect("a format may change text that is not well-formed: the append returns what every reader gets", () =>
  Effect.gen(function* () {
    const values = ["\ud800", `${"x".repeat(300)}\ud800`]
    const [short, long] = yield* throughLog(boxOf(Schema.String), mapper(Transcoder.layer(msgpack)), values)
    assert.strictEqual(short?.value, "\ud800")
    assert.strictEqual(long?.value, `${"x".repeat(300)}\ufffd`)
  })
)

describe("Transcoder", () => {
  const Box = boxOf(Schema.Struct({ text: Schema.String, count: Schema.BigInt }))
  const values = [
    { text: "a", count: 1n },
    { text: "b", count: 2n },
    { text: "c", count: 3n }
  ] as const

  it.effect("reads a log that was written first as JSON and then in another format", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const before = yield* open(log)
      const after = yield* open(log, { mapper: mapper(Transcoder.layer(msgpack)) })
      const id = Box.Id.make("1")
      yield* before.store.append(Box, id, { expected: "NoStream", events: [Box.Filled({ value: values[0] })] })
      yield* after.store.append(Box, id, { expected: 0, events: [Box.Emptied()] })
      yield* after.store.append(Box, Box.Id.make("2"), { expected: "Any", events: [Box.Filled({ value: values[1] })] })

      const recorder = Context.get(log, Recorder.Recorder)
      const stored = yield* recorder.readAll({ limit: 10 })
      assert.deepStrictEqual(
        stored.map(({ encoding, payload }) => [encoding, typeof payload]),
        [
          ["json", "string"],
          ["msgpack", "object"],
          ["msgpack", "object"]
        ]
      )
      const events = yield* Stream.runCollect(after.store.readAll([Box]))
      assert.deepStrictEqual(
        events.map(({ event }) => event),
        [{ value: values[0], _tag: "Filled" }, { _tag: "Emptied" }, { value: values[1], _tag: "Filled" }]
      )
      // a program without the format does not skip the events that have it (G8)
      const error = yield* Effect.flip(Stream.runCollect(before.store.readAll([Box])))
      assert.deepInclude(error, { _tag: "EventNotDecodable", stream: "Box-1", version: 1, type: "Box.Emptied" })
      assert.include(error.message, '"msgpack" is unknown here')
    })
  )

  it.effect("returns to JSON if the other format is given for reading", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const packed = yield* open(log, { mapper: mapper(Transcoder.layer(msgpack)) })
      const back = yield* open(log, { mapper: mapper(Transcoder.layer(Transcoder.json, msgpack)) })
      for (const [i, { store }] of [packed, back].entries()) {
        const events = [Box.Filled({ value: values[0] })] as const
        yield* store.append(Box, Box.Id.make(`${i}`), { expected: "NoStream", events })
      }
      assert.strictEqual((yield* Stream.runCollect(back.store.readAll([Box]))).length, 2)
    })
  )

  it.effect("stores the text of JSON as text, readable with the database's own tools", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { store } = yield* open(log)
      yield* store.append(Box, Box.Id.make("1"), { expected: "NoStream", events: [Box.Filled({ value: values[0] })] })
      const [stored] = yield* Context.get(log, Recorder.Recorder).readAll({ limit: 1 })
      assert.deepStrictEqual(JSON.parse(stored?.payload as string), { value: { text: "a", count: "1" } })
    })
  )

  it.effect("returns the events as the format reads them back", () =>
    Effect.gen(function* () {
      const shouting: Transcoder.Format = {
        name: "shouting",
        encode: (json) => JSON.stringify(json).toUpperCase(),
        decode: (payload) => JSON.parse(String(payload).toLowerCase())
      }
      const Text = boxOf(Schema.String)
      const [found] = yield* throughLog(Text, mapper(Transcoder.layer(shouting)), ["Quiet"])
      assert.strictEqual(found?.value, "quiet")
    })
  )

  it.effect("fails with EventNotEncodable if a format can't write a value, or can't read it back", () =>
    Effect.gen(function* () {
      const failing = (part: "encode" | "decode"): Transcoder.Format => ({
        ...Transcoder.json,
        name: "failing",
        [part]: () => {
          throw new Error(`can't ${part}`)
        }
      })
      for (const part of ["encode", "decode"] as const) {
        const log = yield* makeLog
        const { store } = yield* open(log, { mapper: mapper(Transcoder.layer(failing(part))) })
        const events = [Box.Filled({ value: values[0] })] as const
        const error = yield* Effect.flip(store.append(Box, Box.Id.make("1"), { expected: "NoStream", events }))
        assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Box-1", version: 0, type: "Box.Filled" })
        assert.include(String((error as { cause?: unknown }).cause), `can't ${part}`)
        assert.strictEqual(yield* Context.get(log, Recorder.Recorder).head, undefined)
      }
    })
  )

  it.each(["JSON", "a+b", "a:b", "", "x".repeat(33)])(
    "refuses a format named %j: encodings would be ambiguous",
    (name) => {
      assert.throws(() => Transcoder.layer({ ...Transcoder.json, name }), "it must be 1 to 32 lower-case letters")
    }
  )
})
