/** G11: the holder of a state may change it without affecting anybody else's. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, Redacted, Schema } from "effect"
import { Aggregate, Repository } from "effect-eventsourcing"
import { copierOf } from "../../src/internal/schema/ownCopy.ts"
import { Dog } from "../support/dog.ts"
import { makeLog, open } from "../support/memoryLog.ts"

class Place extends Schema.Class<Place>("Place")({ name: Schema.mutableKey(Schema.String) }) {}

const Lease = Aggregate.make("Lease", {
  state: {
    until: Schema.Date,
    token: Schema.Uint8Array,
    tags: Schema.mutable(Schema.Array(Schema.String)),
    place: Place,
    sizes: Schema.ReadonlyMap(Schema.String, Schema.mutable(Schema.Array(Schema.Int))),
    note: Schema.Option(Schema.Unknown)
  },
  creation: { Taken: { until: Schema.Date } },
  events: { Extended: { until: Schema.Date } },
  reduce: {
    Taken: ({ until }) => ({
      until,
      token: Uint8Array.of(1, 2),
      tags: ["a"],
      place: new Place({ name: "here" }),
      sizes: new Map([["s", [1]]]),
      note: Option.some({ by: ["me"] })
    }),
    Extended: (lease, { until }) => ({ ...lease, until })
  },
  snapshotEvery: 3
})
type State = Aggregate.StateOf<typeof Lease>
const id = Lease.Id.make("1")

/** Changes everything that a state contains. */
const spoil = (state: State): void => {
  state.until.setTime(7)
  state.token[0] = 99
  state.tags.push("spoilt")
  state.place.name = "spoilt"
  state.sizes.get("s")?.push(99)
  const note = Option.getOrUndefined(state.note) as { by: Array<string> }
  note.by.push("spoilt")
}
const until = (year: number) => new Date(Date.UTC(year))
/** A state as it is without any changes. */
const clean = (year: number): State => ({
  until: until(year),
  token: Uint8Array.of(1, 2),
  tags: ["a"],
  place: new Place({ name: "here" }),
  sizes: new Map([["s", [1]]]),
  note: Option.some({ by: ["me"] })
})

describe("a state that can be changed in place", () => {
  it.effect("belongs to each caller alone", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { repository } = yield* open(log)
      const leases = repository.of(Lease)
      const spoilt = (state: State) => Effect.sync(() => spoil(state))
      const created = yield* leases.execute(id, Lease.Taken({ until: until(2030) }))
      const [event] = created.events
      yield* spoilt(created.state)
      if (event?.event._tag === "Taken") event.event.until.setTime(9)
      assert.deepStrictEqual((yield* leases.get(id)).state, clean(2030))
      for (const options of [{}, { allowStale: true }, { version: 0 }]) {
        yield* spoilt((yield* leases.get(id, options)).state)
        assert.deepStrictEqual((yield* leases.get(id, options)).state, clean(2030))
      }
      // a decision without events, one that fails, one with events
      yield* spoilt(
        (yield* leases.execute(
          id,
          Lease.decide(() => [])
        )).state
      )
      const failing = Lease.decide((lease) => {
        spoil(lease)
        return Effect.fail("no" as const)
      })
      assert.strictEqual(yield* Effect.flip(leases.execute(id, failing)), "no")
      const { state } = yield* leases.execute(
        id,
        Lease.decide((lease) => {
          assert.deepStrictEqual(lease, clean(2030))
          spoil(lease)
          return Lease.Extended({ until: until(2031) })
        })
      )
      assert.deepStrictEqual(state, clean(2031))
      // the third event takes a snapshot, after its command has returned
      yield* spoilt((yield* leases.execute(id, Lease.Extended({ until: until(2032) }))).state)
      assert.deepStrictEqual((yield* leases.snapshot(id)).state, clean(2032))
      yield* spoilt((yield* leases.snapshot(id)).state)
      const other = (yield* open(log)).repository.of(Lease)
      assert.deepStrictEqual((yield* other.get(id)).state, clean(2032))
    })
  )

  it.effect("belongs to each caller alone in a transaction", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { repository } = yield* open(log)
      const leases = repository.of(Lease)
      const other = Lease.Id.make("2")
      for (const one of [id, other]) yield* leases.execute(one, Lease.Taken({ until: until(2030) }))
      const participants = { one: Repository.existing(Lease, id), two: Repository.existing(Lease, other) }
      const { one, two } = yield* Effect.provideContext(
        repository.transaction(participants, (states) => {
          spoil(states.one)
          spoil(states.two)
          return { one: Lease.Extended({ until: until(2031) }) }
        }),
        log
      )
      assert.deepStrictEqual([one.state, two.state], [clean(2031), clean(2030)])
      spoil(one.state)
      spoil(two.state)
      assert.deepStrictEqual((yield* leases.get(id)).state, clean(2031))
      assert.deepStrictEqual((yield* leases.get(other)).state, clean(2030))
    })
  )

  it.effect("may be changed by a reducer, which gets a copy of its own", () =>
    Effect.gen(function* () {
      const List = Aggregate.make("List", {
        state: Schema.mutable(Schema.Array(Schema.String)),
        creation: { Began: {} },
        events: { Added: { item: Schema.NonEmptyString } },
        reduce: {
          Began: () => [],
          Added: (list, { item }) => {
            list.push(item)
            return list
          }
        }
      })
      const list = List.Id.make("1")
      const log = yield* makeLog
      const lists = (yield* open(log)).repository.of(List)
      const there = (yield* open(log)).repository.of(List)
      yield* lists.execute(list, [List.Began(), List.Added({ item: "a" })])
      // the second event does not fit: what the first did to a state is not kept
      yield* Effect.exit(lists.execute(list, [List.Added({ item: "b" }), List.Added({ item: "" })]))
      assert.deepStrictEqual((yield* lists.get(list)).state, ["a"])
      yield* there.execute(list, List.Added({ item: "c" }))
      const conflict = yield* Effect.exit(lists.execute(list, List.Added({ item: "d" }), { expectedVersion: 1 }))
      assert.strictEqual(conflict._tag, "Failure")
      assert.deepStrictEqual((yield* lists.execute(list, List.Added({ item: "e" }))).state, ["a", "c", "e"])
      assert.deepStrictEqual((yield* there.get(list)).state, ["a", "c", "e"])
    })
  )
})

describe("a state that nothing can change", () => {
  it.effect("is shared by all callers", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const dogs = repository.of(Dog)
      const rex = Dog.Id.make("rex")
      const { state } = yield* dogs.execute(rex, Dog.Registered({ name: "Rex" }))
      assert.strictEqual((yield* dogs.get(rex)).state, state)
    })
  )

  it.each([
    ["a struct", Schema.Struct({ a: Schema.String, b: Schema.optional(Schema.Array(Schema.Int)) }), { a: "", b: [1] }],
    ["a record of times", Schema.Record(Schema.String, Schema.DateTimeUtc), {}],
    ["an option", Schema.Struct({ a: Schema.Option(Schema.BigDecimal) }), { a: Option.none() }]
  ] as const)("is not copied: %s", (_, schema, state) => {
    assert.strictEqual(copierOf(schema)(state), state)
  })

  it("shares values that can't be copied, and keeps a part that occurs twice a single one", () => {
    class Secret {
      readonly #key = 7
      readonly open = "yes"
      get key() {
        return this.#key
      }
    }
    class Total extends Map<string, number> {
      total() {
        return [...this.values()].reduce((sum, n) => sum + n, 0)
      }
    }
    const part = { list: [1] }
    const state = {
      secret: new Secret(),
      total: new Total([["a", 1]]),
      failure: new Error("it broke"),
      one: part,
      other: part,
      bytes: Buffer.from("abc"),
      url: new URL("a:b"),
      query: new URLSearchParams("a=b")
    }
    const copy = copierOf(Schema.Unknown)(state) as typeof state
    assert.notStrictEqual(copy, state)
    assert.strictEqual(copy.secret.key, 7)
    assert.strictEqual(copy.total.total(), 1)
    assert.strictEqual(copy.failure, state.failure)
    assert.strictEqual(copy.one, copy.other)
    assert.notStrictEqual(copy.one.list, part.list)
    assert.isTrue(Buffer.isBuffer(copy.bytes) && copy.bytes !== state.bytes && copy.bytes.equals(state.bytes))
    assert.isTrue(copy.url.href === "a:b" && copy.url !== state.url && copy.query !== state.query)
  })

  it("copies an instance with mutable fields by its class, and shares one with read-only fields", () => {
    class Base extends Schema.Class<Base>("Base")({ items: Schema.mutable(Schema.Array(Schema.Int)) }) {
      readonly #secret = 7
      get secret() {
        return this.#secret
      }
      get colour() {
        return "#ff0000"
      }
    }
    class Derived extends Base.extend<Derived>("Derived")({ x: Schema.Int }) {}
    const state = new Derived({ items: [1], x: 1 })
    const copy = copierOf(Derived)(state) as Derived
    assert.notStrictEqual(copy.items, state.items)
    assert.deepStrictEqual(copy, state)
    assert.strictEqual(copy.secret, 7)
    class Point extends Schema.Class<Point>("Point")({ x: Schema.Int }) {}
    const point = new Point({ x: 1 })
    assert.strictEqual(copierOf(Point)(point), point)
  })

  it("copies only mutable values, and the values that contain them", () => {
    const Line = Schema.Struct({ sku: Schema.String, price: Schema.Option(Schema.BigDecimal) })
    const State = Schema.Struct({
      at: Schema.Date,
      lines: Schema.Array(Line),
      key: Schema.Redacted(Schema.Uint8Array),
      rows: Schema.Record(Schema.String, Schema.Array(Schema.Date))
    })
    const state: typeof State.Type = {
      at: new Date(0),
      lines: [{ sku: "a", price: Option.none() }],
      key: Redacted.make(Uint8Array.of(1), { label: "key" }),
      rows: { a: [new Date(1)] }
    }
    const copy = copierOf(State)(state) as typeof state
    assert.deepStrictEqual(copy, state)
    assert.strictEqual(copy.lines, state.lines)
    for (const [one, other] of [
      [copy.at, state.at],
      [Redacted.value(copy.key), Redacted.value(state.key)],
      [copy.rows.a?.[0], state.rows.a?.[0]]
    ]) {
      assert.notStrictEqual(one, other)
      assert.deepStrictEqual(one, other)
    }
  })
})
