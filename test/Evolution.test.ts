import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schema, Stream } from "effect"
import { Aggregate, Evolution, SnapshotRecorder } from "effect-eventsourcing"
import { capturingLogs, makeLog, open } from "./support/memoryLog.ts"

// one aggregate as three programs declare it, each newer than the one before it
const openedV1 = Evolution.version(1, { owner: Schema.String })
const openedV2 = openedV1.version(2, { owner: Schema.String, currency: Schema.String }, (v1) => ({
  ...v1,
  currency: "EUR"
}))
const openedV3 = openedV2.version(
  3,
  { owner: Schema.Struct({ name: Schema.String }), currency: Schema.NonEmptyString },
  ({ owner, currency }) => ({ owner: { name: owner }, currency })
)

const stateV1 = Evolution.version(1, Schema.Struct({ owner: Schema.String }))
const stateV2 = stateV1.version(2, Schema.Struct({ owner: Schema.String, currency: Schema.String }), (v1) => ({
  ...v1,
  currency: "EUR"
}))
const stateV3 = stateV2.version(
  3,
  Schema.Struct({ name: Schema.String, currency: Schema.String }),
  ({ owner, currency }) => ({ name: owner, currency })
)

const Account1 = Aggregate.make("Account", {
  state: stateV1,
  creation: { Opened: openedV1 },
  events: {},
  reduce: { Opened: ({ owner }) => ({ owner }) }
})
const Account2 = Aggregate.make("Account", {
  state: stateV2,
  creation: { Opened: openedV2 },
  events: {},
  reduce: { Opened: ({ owner, currency }) => ({ owner, currency }) }
})
const Account3 = Aggregate.make("Account", {
  state: stateV3,
  creation: { Opened: openedV3 },
  events: {},
  reduce: { Opened: ({ owner, currency }) => ({ name: owner.name, currency }) }
})

describe("Evolution", () => {
  it("counts versions from 1", () => {
    assert.deepStrictEqual([openedV1.current, openedV2.current, openedV3.current], [1, 2, 3])
  })

  const codec = Evolution.compile(openedV3)

  it("writes the newest version", () => {
    assert.strictEqual(codec.version, 3)
    assert.deepStrictEqual(codec.encode({ owner: { name: "Ada" }, currency: "CHF" }), {
      owner: { name: "Ada" },
      currency: "CHF"
    })
    assert.throws(() => codec.encode({ owner: { name: "Ada" }, currency: "" }))
  })

  it.each([
    [1, { owner: "Ada" }, "EUR"],
    [2, { owner: "Ada", currency: "CHF" }, "CHF"],
    [3, { owner: { name: "Ada" }, currency: "USD" }, "USD"]
  ])("upcasts version %i to the newest", (version, json, currency) => {
    assert.deepStrictEqual(codec.decode(version, json), { owner: { name: "Ada" }, currency })
  })

  it("checks a value against the version that it was written with", () => {
    assert.throws(() => codec.decode(1, { owner: { name: "Ada" } }))
    assert.throws(() => codec.decode(3, { owner: "Ada", currency: "EUR" }))
  })

  it.each([0, 4, -1, 1.5, Number.NaN])("refuses version %d, for which it has no schema", (version) => {
    assert.throws(() => codec.decode(version, { owner: "Ada" }), "is unknown here")
  })

  it("checks the result of each step against its schema", () => {
    const broken = openedV1.version(2, { owner: Schema.NonEmptyString }, () => ({ owner: "" }))
    const mended = broken.version(3, { owner: Schema.String }, ({ owner }) => ({ owner: `${owner}!` }))
    assert.throws(() => Evolution.compile(broken).decode(1, { owner: "Ada" }))
    // also in the middle of a chain whose end would fit
    assert.throws(() => Evolution.compile(mended).decode(1, { owner: "Ada" }))
    assert.deepStrictEqual(Evolution.compile(mended).decode(2, { owner: "Ada" }), { owner: "Ada!" })
  })

  it("steps between decoded values, whatever their recorded form", () => {
    const cents = Evolution.version(1, { amount: Schema.BigInt }).version(
      2,
      { cents: Schema.BigInt },
      ({ amount }) => ({
        cents: amount * 100n
      })
    )
    assert.deepStrictEqual(Evolution.compile(cents).decode(1, { amount: "7" }), { cents: 700n })
  })

  it("evolves schemas that are not structs, and unions", () => {
    const contact = Evolution.version(1, Schema.Struct({ mail: Schema.String })).version(
      2,
      Schema.Union([
        Schema.Struct({ kind: Schema.Literal("mail"), address: Schema.String }),
        Schema.Struct({ kind: Schema.Literal("phone"), number: Schema.String })
      ]),
      ({ mail }) => ({ kind: "mail" as const, address: mail })
    )
    assert.deepStrictEqual(Evolution.compile(contact).decode(1, { mail: "a@b.c" }), { kind: "mail", address: "a@b.c" })
    const count = Evolution.version(1, Schema.Int).version(2, Schema.String, String)
    assert.strictEqual(Evolution.compile(count).decode(1, 7), "7")
  })
})

describe("an old event", () => {
  const id = (name: string) => Account3.id(name)

  it.effect("is upcast in the repository, in the history, in the total order and in results", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      yield* repository.of(Account1).execute(id("a"), Account1.Opened({ owner: "Ada" }))
      yield* repository.of(Account2).execute(id("b"), Account2.Opened({ owner: "Bob", currency: "CHF" }))
      const accounts = repository.of(Account3)
      yield* accounts.execute(id("c"), Account3.Opened({ owner: { name: "Cleo" }, currency: "USD" }))

      assert.deepStrictEqual((yield* accounts.get(id("a"))).state, { name: "Ada", currency: "EUR" })
      assert.deepStrictEqual((yield* accounts.get(id("b"))).state, { name: "Bob", currency: "CHF" })
      const [opened] = yield* Stream.runCollect(accounts.history(id("a")))
      assert.deepStrictEqual(opened?.event, { owner: { name: "Ada" }, currency: "EUR", _tag: "Opened" })
      const all = yield* Stream.runCollect(store.readAll([Account3]))
      assert.deepStrictEqual(
        all.map(({ event }) => [event.owner.name, event.currency]),
        [
          ["Ada", "EUR"],
          ["Bob", "CHF"],
          ["Cleo", "USD"]
        ]
      )
    })
  )

  it.effect("of a newer program is an EventNotDecodable that names the reason, everywhere", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      yield* repository.of(Account3).execute(id("a"), Account3.Opened({ owner: { name: "Ada" }, currency: "EUR" }))
      const older = repository.of(Account2)
      const failures = yield* Effect.all([
        Effect.flip(older.get(id("a"))),
        Effect.flip(Stream.runCollect(older.history(id("a")))),
        Effect.flip(Stream.runCollect(store.readAll([Account2])))
      ])
      for (const error of failures) {
        if (error._tag !== "EventNotDecodable") return assert.fail(error._tag)
        assert.deepInclude(error, { stream: `Account-${id("a")}`, version: 0, type: "Account.Opened" })
        assert.include(error.message, "a newer version of the program wrote it")
      }
    })
  )

  it.effect("whose step breaks the new schema is an EventNotDecodable", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      yield* repository.of(Account2).execute(id("a"), Account2.Opened({ owner: "Ada", currency: "" }))
      const error = yield* Effect.flip(repository.of(Account3).get(id("a")))
      if (error._tag !== "EventNotDecodable") return assert.fail(error._tag)
      assert.deepInclude(error, { version: 0, type: "Account.Opened" })
      assert.notStrictEqual(error.position, undefined)
    })
  )

  it.effect("whose step throws is an EventNotDecodable with the thrown error", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const Account = Aggregate.make("Account", {
        state: stateV1,
        creation: {
          Opened: openedV1.version(2, { owner: Schema.String }, () => {
            throw new Error("no such owner")
          })
        },
        events: {},
        reduce: { Opened: ({ owner }) => ({ owner }) }
      })
      yield* repository.of(Account1).execute(id("a"), Account1.Opened({ owner: "Ada" }))
      const error = yield* Effect.flip(repository.of(Account).get(id("a")))
      assert.strictEqual(error._tag, "EventNotDecodable")
      assert.include(error.message, "no such owner")
    })
  )
})

describe("an old snapshot", () => {
  const a = Account3.id("a")
  const opened = Effect.gen(function* () {
    const log = yield* makeLog
    const { repository, snapshots } = yield* open(log)
    yield* repository.of(Account1).execute(a, Account1.Opened({ owner: "Ada" }))
    return { log, repository, snapshots }
  })

  it.effect("is upcast step by step, and stored in its new form", () =>
    Effect.gen(function* () {
      const { log, repository, snapshots } = yield* opened
      const { createdAt } = yield* repository.of(Account1).snapshot(a)
      const [event] = yield* Stream.runCollect(repository.of(Account1).history(a))
      assert.deepStrictEqual(yield* snapshots.load(Account3, a), {
        eventId: event?.id ?? "",
        id: a,
        version: 0,
        state: { name: "Ada", currency: "EUR" },
        createdAt,
        modifiedAt: createdAt
      })
      yield* repository.of(Account3).snapshot(a)
      const stored = yield* Context.get(log, SnapshotRecorder.SnapshotRecorder).load(Account3.stream(a))
      assert.strictEqual(stored?.schemaVersion, 3)
      assert.include(stored?.payload, '"name":"Ada"')
    })
  )

  it.effect("of a newer program is skipped and reported, and the events are read", () =>
    Effect.gen(function* () {
      const { repository, snapshots } = yield* opened
      yield* repository.of(Account3).snapshot(a)
      const logs = capturingLogs()
      const loaded = yield* Effect.provide(snapshots.load(Account2, a), logs.layer)
      assert.strictEqual(loaded, undefined)
      assert.strictEqual(logs.lines.length, 1)
      assert.match(logs.lines[0] ?? "", /^Warn: the snapshot of "Account-.*can't be read/)
      assert.deepStrictEqual((yield* repository.of(Account2).get(a)).state, { owner: "Ada", currency: "EUR" })
    })
  )
})
