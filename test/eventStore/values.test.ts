/** G8, G11: an event is read back with the value that it was given, or it is not recorded. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Chunk, Effect, HashMap, HashSet, Option, Schema, SchemaTransformation, Stream } from "effect"
import type { Evolution } from "effect-eventsourcing"
import { Aggregate, EventSourcingError } from "effect-eventsourcing"
import { makeLog, open } from "../support/memoryLog.ts"

const boxOf = (value: Evolution.AnySchema) =>
  Aggregate.make("Box", {
    state: { value },
    creation: { Filled: { value } },
    events: { Emptied: {} },
    reduce: { Filled: ({ value }) => ({ value }), Emptied: (box) => box }
  })

const readBack = Symbol("the value as it was read back")

/** The outcomes for a value: as an event and its state that are read back, and as the state of a snapshot. */
const throughLog = Effect.fnUntraced(function* (schema: Evolution.AnySchema, value: unknown) {
  const Box = boxOf(schema)
  const id = Box.Id.make("1")
  const log = yield* makeLog
  const { repository, store } = yield* open(log)
  const attempt = yield* Effect.result(repository.of(Box).execute(id, Box.Filled({ value })))
  if (attempt._tag === "Failure") return attempt.failure
  const [found] = yield* Stream.runCollect(store.read(Box, id))
  const events = yield* open(log)
  const state = (yield* events.repository.of(Box).snapshot(id)).state
  // a process that begins with the snapshot
  const snapshots = yield* open(log)
  const { encode } = Box.compiled.state
  assert.deepStrictEqual(encode((yield* snapshots.repository.of(Box).get(id)).state), encode(state))
  return { [readBack]: found?.event._tag === "Filled" ? found.event.value : undefined }
})

const Inner = Schema.Struct({ a: Schema.optional(Schema.NullOr(Schema.String)), b: Schema.Int })
class Shop extends Schema.Class<Shop>("Shop")({ a: Schema.optional(Schema.NullOr(Schema.String)) }) {}
interface Tree {
  readonly label?: string | null | undefined
  readonly next: Tree | null
}
const Tree: Schema.Codec<Tree> = Schema.Struct({
  label: Schema.optional(Schema.NullOr(Schema.String)),
  next: Schema.NullOr(Schema.suspend((): Schema.Codec<Tree> => Tree))
})

describe("a property that is undefined", () => {
  it.effect.each([
    ["optional(NullOr)", Schema.optional(Schema.NullOr(Schema.String))],
    ["optional(Unknown)", Schema.optional(Schema.Unknown)],
    ["optional(Any)", Schema.optional(Schema.Any)],
    ["optional(Json)", Schema.optional(Schema.Json)],
    ["optional(Option from null)", Schema.optional(Schema.OptionFromNullOr(Schema.String))],
    ["optional(NullOr(Date))", Schema.optional(Schema.NullOr(Schema.Date))],
    ["optional(String)", Schema.optional(Schema.String)],
    ["NullishOr", Schema.NullishOr(Schema.String)],
    ["UndefinedOr", Schema.UndefinedOr(Schema.String)],
    ["optional(Literals with null)", Schema.optional(Schema.Union([Schema.Literal("a"), Schema.Null]))]
  ] as const)("of %s comes back as undefined, and null as null", ([, field]) =>
    Effect.gen(function* () {
      const schema = Schema.Struct({ field, other: Schema.Int })
      const found = yield* throughLog(schema, { field: undefined, other: 1 })
      const { field: given, ...others } = (found as { [readBack]: { field?: unknown } })[readBack]
      assert.strictEqual(given, undefined)
      assert.deepStrictEqual(others, { other: 1 })
      if (Schema.is(schema)({ field: null, other: 1 })) {
        assert.deepStrictEqual(yield* throughLog(schema, { field: null, other: 1 }), {
          [readBack]: { field: null, other: 1 }
        })
      }
    })
  )

  it.effect.each([
    ["a nested struct", Inner, { a: undefined, b: 1 }, { b: 1 }],
    ["a struct in an array", Schema.Array(Inner), [{ a: undefined, b: 1 }], [{ b: 1 }]],
    ["a struct in a record", Schema.Record(Schema.String, Inner), { k: { a: undefined, b: 1 } }, { k: { b: 1 } }],
    ["a struct in a union", Schema.Union([Inner, Schema.Int]), { a: undefined, b: 1 }, { b: 1 }],
    ["a struct in an option", Schema.Option(Inner), Option.some({ a: undefined, b: 1 }), Option.some({ b: 1 })],
    [
      "a struct in a map",
      Schema.ReadonlyMap(Schema.String, Inner),
      new Map([["k", { a: undefined, b: 1 }]]),
      new Map([["k", { b: 1 }]])
    ],
    ["a class", Shop, new Shop({ a: undefined }), new Shop({})],
    [
      "a recursive schema",
      Tree,
      { label: undefined, next: { label: null, next: null } },
      { next: { label: null, next: null } }
    ]
  ] as const)("of %s is omitted", ([, schema, value, expected]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* throughLog(schema, value), { [readBack]: expected })
    })
  )

  it.effect("that was recorded as null before is read as it was", () =>
    Effect.gen(function* () {
      const codec = boxOf(Schema.Struct({ a: Schema.optional(Schema.String), b: Schema.NullishOr(Schema.Int) }))
        .compiled.state
      assert.deepStrictEqual(codec.decode(1, { value: { a: null, b: null } }), { value: { a: undefined, b: null } })
    })
  )
})

const Contact = Schema.Union([
  Schema.Struct({ email: Schema.String }),
  Schema.Struct({ email: Schema.String, phone: Schema.String })
])
const Rounded = Schema.Number.pipe(
  Schema.decodeTo(Schema.Number, SchemaTransformation.transform({ decode: (n) => n, encode: Math.round }))
)

describe("a value that would be read back as another", () => {
  it.effect.each([
    ["undefined in an array", Schema.Array(Schema.NullishOr(Schema.String)), ["a", undefined], "[1]"],
    ["undefined in a tuple", Schema.Tuple([Schema.NullishOr(Schema.Int)]), [undefined], "[0]"],
    ["undefined in a record", Schema.Record(Schema.String, Schema.NullishOr(Schema.Int)), { k: undefined }, '["k"]'],
    [
      "undefined in a map",
      Schema.ReadonlyMap(Schema.String, Schema.NullishOr(Schema.Int)),
      new Map([["k", undefined]]),
      "[0][1]"
    ],
    ["undefined in an array of anything", Schema.Any, { a: [undefined] }, '["a"][0]'],
    ["a field of a later member of a union", Contact, { email: "a@b", phone: "112" }, '["phone"]'],
    ["that in an array", Schema.Array(Contact), [{ email: "" }, { email: "a@b", phone: "112" }], '[1]["phone"]'],
    ["that in an option", Schema.Option(Contact), Option.some({ email: "a@b", phone: "112" }), '["value"]["phone"]'],
    ["a date beside text", Schema.Union([Schema.String, Schema.Date]), new Date(0), ""],
    ["text beside a date", Schema.Union([Schema.Date, Schema.String]), "1970-01-01T00:00:00.000Z", ""],
    ["text beside a bigint", Schema.Union([Schema.String, Schema.BigInt]), "7", ""],
    ["text beside bytes", Schema.Union([Schema.Uint8Array, Schema.String]), "abcd", ""],
    ["the name of a number beside it", Schema.Union([Schema.Number, Schema.String]), "Infinity", ""],
    ["a number beside its name", Schema.Union([Schema.String, Schema.Number]), Number.NaN, ""],
    ["null beside undefined", Schema.Union([Schema.Undefined, Schema.Null]), null, ""],
    ["a map as anything", Schema.Any, new Map([["a", 1]]), ""],
    ["a date as anything", Schema.Any, { at: new Date(0) }, '["at"]'],
    ["a class as anything", Schema.Any, new Shop({ a: "b" }), ""],
    ["anything in an empty struct", Schema.Struct({ x: Schema.Struct({}) }), { x: { at: new Date(0) } }, '["x"]["at"]'],
    ["what a transformation rounds", Schema.Struct({ n: Rounded }), { n: 1.5 }, '["n"]']
  ] as const)("is refused, with its path: %s", ([, schema, value, path]) =>
    Effect.gen(function* () {
      const found = yield* throughLog(schema, value)
      if (!(found instanceof EventSourcingError.EventNotEncodable)) return assert.fail("it was recorded")
      assert.include(found.message, `it would be read back as another value at ["value"]${path};`)
    })
  )

  it.effect.each([
    [Contact, { email: "a@b" }],
    [Schema.Union([Schema.String, Schema.Date]), "text"],
    [Schema.Union([Schema.Date, Schema.Int]), new Date(0)],
    [Schema.Union([Schema.Number, Schema.String]), Number.POSITIVE_INFINITY],
    [Schema.Union([Schema.String, Schema.BigInt]), 7n],
    [Schema.Unknown, { a: [1, "b", null, { c: true }] }],
    [Schema.Struct({ n: Rounded }), { n: 2 }],
    [Schema.Record(Schema.String, Schema.UndefinedOr(Schema.Int)), { k: undefined, l: 1 }]
  ] as const)("is not another value of the same schema: %o", ([schema, value]) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* throughLog(schema, value), { [readBack]: value })
    })
  )

  it.effect("omits fields that no member of a union declares", () =>
    Effect.gen(function* () {
      const Shape = Schema.Union([
        Schema.Struct({ kind: Schema.Literal("a"), x: Schema.Int }),
        Schema.Struct({ kind: Schema.Literal("b"), y: Schema.String })
      ])
      const value = { kind: "b", y: "1", x: 5 }
      assert.deepStrictEqual(yield* throughLog(Shape, value), { [readBack]: { kind: "b", y: "1" } })
    })
  )

  it.effect("is not stored as a snapshot", () =>
    Effect.gen(function* () {
      const Person = Aggregate.make("Person", {
        state: Contact,
        creation: { Made: { email: Schema.String } },
        events: { PhoneGiven: { phone: Schema.String } },
        reduce: { Made: ({ email }) => ({ email }), PhoneGiven: ({ email }, { phone }) => ({ email, phone }) },
        snapshotEvery: 2
      })
      const id = Person.Id.make("1")
      const log = yield* makeLog
      const { repository } = yield* open(log)
      const people = repository.of(Person)
      yield* people.execute(id, [Person.Made({ email: "a@b" }), Person.PhoneGiven({ phone: "112" })])
      const error = yield* Effect.flip(people.snapshot(id))
      assert.strictEqual(error._tag, "EventNotEncodable")
      assert.include(error.message, 'it would be read back as another value at ["phone"]')
      const other = yield* open(log)
      assert.deepStrictEqual((yield* other.repository.of(Person).get(id)).state, { email: "a@b", phone: "112" })
    })
  )
})

describe("values of every schema of Effect", () => {
  const schemas: ReadonlyArray<Schema.Codec<unknown, unknown>> = [
    Schema.String,
    Schema.Number,
    Schema.BigInt,
    Schema.Boolean,
    Schema.Date,
    Schema.DateTimeUtc,
    Schema.Duration,
    Schema.BigDecimal,
    Schema.Uint8Array,
    Schema.URL,
    Schema.Json,
    Schema.Option(Schema.Date),
    Schema.Result(Schema.BigInt, Schema.String),
    Schema.HashMap(Schema.String, Schema.Date),
    Schema.ReadonlyMap(Schema.String, Schema.BigInt),
    Schema.ReadonlySet(Schema.Uint8Array),
    Schema.Chunk(Schema.Date),
    Shop,
    Inner,
    Schema.Record(Schema.String, Schema.Json),
    Schema.Array(Schema.Union([Schema.Date, Schema.Boolean, Schema.Null])),
    Schema.Union([Schema.Date, Schema.Uint8Array, Schema.Int])
  ]
  for (const [i, schema] of schemas.entries()) {
    const same = Schema.toEquivalence(schema)
    it.effect.prop(
      `come back, or are refused: ${schema.ast._tag} ${i}`,
      [Arbitrary.schema(schema)],
      Effect.fnUntraced(function* ([value]) {
        const found = yield* throughLog(schema, value)
        if (found instanceof EventSourcingError.EventNotEncodable) {
          // only if a union has two members that are encoded alike
          assert.strictEqual(i, schemas.length - 1)
        } else {
          const back = (found as { [readBack]: unknown })[readBack]
          assert.isTrue(same(back, value) || JSON.stringify(back) === JSON.stringify(value))
        }
      }),
      { arbitrary: { runs: 25 } }
    )
  }
})

describe("a value that comes back is not refused", () => {
  /** A class of the user's own, by a transformation, with a function and a cache in each instance. */
  class Price {
    readonly cents: number
    readonly double = () => this.cents * 2
    #memo: number | undefined
    constructor(cents: number) {
      this.cents = cents
    }
    get memo() {
      this.#memo ??= this.cents
      return this.#memo
    }
  }
  const PriceSchema = Schema.Int.pipe(
    Schema.decodeTo(
      Schema.instanceOf(Price),
      SchemaTransformation.transform({ decode: (cents) => new Price(cents), encode: ({ cents }) => cents })
    )
  )
  /** Like `moment` and the lists of `immutable`: their internals differ, but what they represent is the same. */
  class Instant {
    readonly bookkeeping = Symbol("made here")
    readonly at: number
    constructor(at: number) {
      this.at = at
    }
    valueOf() {
      return this.at
    }
  }
  const InstantSchema = Schema.Int.pipe(
    Schema.decodeTo(
      Schema.instanceOf(Instant),
      SchemaTransformation.transform({ decode: (at) => new Instant(at), encode: ({ at }) => at })
    )
  )
  class Arrow extends Schema.Class<Arrow>("Arrow")({ to: Schema.optional(Schema.Unknown) }) {
    readonly show = () => this.to
  }
  const Field = Schema.Struct({ a: Schema.optional(Schema.Unknown), n: Schema.Int })

  it.effect.each([
    ["a class with a function", PriceSchema, new Price(5)],
    ["a class with bookkeeping", InstantSchema, new Instant(5)],
    [
      "a map of a class with a function",
      Schema.ReadonlyMap(Schema.String, Arrow),
      new Map([["k", new Arrow({ to: 1 })]])
    ],
    ["undefined in a hash map", Schema.HashMap(Schema.String, Field), HashMap.make(["k", { a: undefined, n: 1 }])],
    ["undefined in a hash set", Schema.HashSet(Field), HashSet.make({ a: undefined, n: 1 })],
    ["undefined in a chunk", Schema.Chunk(Field), Chunk.make({ a: undefined, n: 1 })],
    ["what an option's struct does not declare", Schema.Option(Field), Option.some({ n: 5, extra: 5 })],
    [
      "what the structs in a map do not declare",
      Schema.ReadonlyMap(Schema.String, Field),
      new Map([["k", { n: 1, extra: 5 }]])
    ],
    ["a check that throws on undefined", Schema.Any.check(Schema.makeFilter((text: string) => text.length > 0)), "x"],
    [
      "such a property",
      Schema.Struct({ a: Schema.Any.check(Schema.makeFilter((text: string) => text.length > 0)) }),
      { a: "x" }
    ]
  ] as const)("%s", ([, schema, value]) =>
    Effect.gen(function* () {
      const found = yield* throughLog(schema, value)
      if (found instanceof EventSourcingError.EventNotEncodable) assert.fail(found.message)
    })
  )

  it.effect.each([
    [
      "a codec of the user's for a date",
      Schema.Date.annotate({
        toCodecJson: () =>
          Schema.link<Date>()(
            Schema.String,
            SchemaTransformation.transform({
              decode: (text) => new Date(text),
              encode: (date: Date) => date.toISOString().slice(0, 10)
            })
          )
      }),
      new Date(5000)
    ],
    [
      "tags that are written alike",
      Schema.Union([
        Schema.Struct({ v: Schema.Literal(1n), a: Schema.String }),
        Schema.Struct({ v: Schema.Literal("1"), a: Schema.String, b: Schema.String })
      ]),
      { v: "1", a: "", b: "" }
    ]
  ] as const)("but one that changes is refused: %s", ([, schema, value]) =>
    Effect.gen(function* () {
      assert.instanceOf(yield* throughLog(schema, value), EventSourcingError.EventNotEncodable)
    })
  )

  it.effect(
    "is detected in a time that grows with the size of the schema, not with the number of paths through it",
    () =>
      Effect.gen(function* () {
        interface Node {
          readonly at?: unknown
          readonly links: ReadonlyArray<Node | null>
        }
        const nodes: ReadonlyArray<Schema.Codec<Node>> = Array.from({ length: 40 }, () =>
          Schema.Struct({
            at: Schema.optional(Schema.Unknown),
            links: Schema.Array(Schema.NullOr(Schema.suspend((): Schema.Codec<Node> => Schema.Union(nodes))))
          })
        )
        const [first] = nodes
        if (first === undefined) return
        assert.deepStrictEqual(yield* throughLog(first, { links: [null, { links: [] }] }), {
          [readBack]: { links: [null, { links: [] }] }
        })
        const list = (item: Schema.Codec<unknown>): Schema.Codec<unknown> =>
          Schema.Struct({ item, next: Schema.NullOr(Schema.suspend(() => list(item))) })
        const endless = { item: 1, next: { item: 2, next: null } }
        assert.deepStrictEqual(yield* throughLog(list(Schema.Int), endless), { [readBack]: endless })
      })
  )
})

describe("an event without fields", () => {
  class Empty extends Schema.Class<Empty>("Empty")({}) {}
  const Order = Aggregate.make("Order", {
    state: Schema.Int,
    creation: { Placed: {} },
    events: { Archived: {}, Closed: Schema.Struct({}), Ended: Empty },
    reduce: { Placed: () => 0, Archived: (n) => n, Closed: (n) => n, Ended: (n) => n }
  })

  it.effect("is recorded as {}, whatever is passed", () =>
    Effect.gen(function* () {
      const { store } = yield* open(yield* makeLog)
      const body = { password: "secret", nested: { deep: [1] } }
      const untyped: { readonly [event: string]: (payload: unknown) => Aggregate.Event<typeof Order> } = Order as never
      const given = ["Archived", "Closed", "Ended"].map((event) => untyped[event]?.(body) ?? Order.Archived())
      for (const event of given) assert.deepStrictEqual(Object.keys(event), ["_tag"])
      const byHand: Aggregate.Event<typeof Order> = { _tag: "Archived", ...body }
      const prepared = yield* store.prepare(Order, Order.id("1"), "NoStream", [Order.Placed(), ...given, byHand])
      assert.deepStrictEqual(
        prepared.stored.map(({ payload }) => payload),
        ["{}", "{}", "{}", "{}", "{}"]
      )
      assert.deepStrictEqual(prepared.events[1]?.event, Order.Archived())
    })
  )
})

describe("keys of a record", () => {
  const Counted = Aggregate.make("Counted", {
    state: Schema.Record(Schema.String, Schema.Int),
    creation: { Began: Schema.Record(Schema.String, Schema.Int) },
    events: {},
    reduce: { Began: ({ _tag, ...counts }) => counts as Readonly<Record<string, number>> }
  })
  const Key = Arbitrary.schema(
    Schema.Array(Schema.Literals(["\\", '"', "\n", "\t", "a", "b", "\u0001", "\ud800", "\ue000", "{", ":"]))
  )

  it.effect.prop(
    "come back as they were, with any escape",
    [Key, Key, Key],
    Effect.fnUntraced(function* (keys) {
      const { store } = yield* open(yield* makeLog)
      const counts = Object.fromEntries(keys.map((key, i) => [key.join(""), i]))
      const event = { ...counts, _tag: "Began" as const } as never
      yield* store.append(Counted, Counted.Id.make("1"), { expected: "NoStream", events: [event] })
      const [found] = yield* Stream.runCollect(store.read(Counted, Counted.Id.make("1")))
      assert.deepStrictEqual(found?.event, event)
    }),
    { arbitrary: { runs: 300 } }
  )

  it("can't be \"_tag\", which holds the event's name", () => {
    // @ts-expect-error `_tag` contains the name of the event
    assert.throws(() => Counted.Began({ _tag: "mine", a: 1 }), '"_tag" can\'t be one of its keys')
    const Either = Aggregate.make("Either", {
      state: Schema.Int,
      creation: {
        Began: Schema.Union([Schema.Struct({ a: Schema.Int }), Schema.Record(Schema.String, Schema.String)])
      },
      events: {},
      reduce: { Began: () => 0 }
    })
    const mine: Readonly<Record<string, string>> = { _tag: "mine", b: "c" }
    assert.throws(() => Either.Began(mine), '"_tag" can\'t be one of its keys')
  })
})

describe("an error of the schema's own", () => {
  const failing = (encode: (n: number) => number) =>
    Schema.Number.pipe(Schema.decodeTo(Schema.Number, SchemaTransformation.transform({ decode: (n) => n, encode })))

  it.effect("is reported, not that of the adapter", () =>
    Effect.gen(function* () {
      const found = yield* throughLog(
        failing(() => {
          throw new TypeError("the user's own mistake")
        }),
        1
      )
      assert.include(String(found), "can't be encoded: the user's own mistake")
    })
  )

  it.effect("names a transformation that is asynchronous", () =>
    Effect.gen(function* () {
      const later = Schema.Number.pipe(
        Schema.decodeTo(
          Schema.Number,
          SchemaTransformation.transformEffect({
            decode: (n: number) => Effect.succeed(n),
            encode: (n: number) => Effect.delay(Effect.succeed(n), "1 millis")
          })
        )
      )
      assert.include(String(yield* throughLog(later, 1)), "events are encoded and decoded synchronously")
    })
  )
})
