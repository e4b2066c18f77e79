/** G11: a snapshot of a state with a different schema is not taken for one of the current reducer. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schema } from "effect"
import { Aggregate, Evolution, SnapshotRecorder } from "effect-eventsourcing"
import { fingerprint } from "../../src/internal/schema/fingerprint.ts"
import { capturingLogs, makeLog, open } from "../support/memoryLog.ts"

const events = { creation: { Placed: { total: Schema.Int } }, events: { Added: { total: Schema.Int } } } as const

const First = Aggregate.make("Order", {
  ...events,
  state: { total: Schema.Int },
  reduce: { Placed: ({ total }) => ({ total }), Added: (order, { total }) => ({ total: order.total + total }) }
})
const id = First.Id.make("1")

const counting = {
  Placed: ({ total }: { readonly total: number }) => ({ total, count: 1 }),
  Added: (order: { readonly total: number; readonly count?: number }, { total }: { readonly total: number }) => ({
    total: order.total + total,
    count: (order.count ?? 0) + 1
  })
}
const WithOptionalField = Aggregate.make("Order", {
  ...events,
  state: { total: Schema.Int, count: Schema.optionalKey(Schema.Int) },
  reduce: counting
})
const WithVersion = Aggregate.make("Order", {
  ...events,
  state: Evolution.version(1, { total: Schema.Int }).version(2, { total: Schema.Int, count: Schema.Int }, (one) => ({
    ...one,
    count: 7
  })),
  reduce: counting
})

/** A log with an order of two events, and a snapshot of it. */
const snapshot = Effect.gen(function* () {
  const log = yield* makeLog
  const orders = (yield* open(log)).repository.of(First)
  yield* orders.execute(id, [First.Placed({ total: 1 }), First.Added({ total: 2 })])
  yield* orders.snapshot(id)
  return log
})

describe("the snapshot of an earlier state", () => {
  it.effect("with another schema that still fits is skipped, which is logged, and replaced by the next", () =>
    Effect.gen(function* () {
      const log = yield* snapshot
      const orders = (yield* open(log)).repository.of(WithOptionalField)
      const logs = capturingLogs()
      assert.deepStrictEqual((yield* Effect.provide(orders.get(id), logs.layer)).state, { total: 3, count: 2 })
      assert.deepStrictEqual(logs.lines, [
        'Info: the snapshot of "Order-1" was taken of a state with another schema; its events are read instead'
      ])
      yield* orders.snapshot(id)
      const again = capturingLogs()
      const other = (yield* open(log)).repository.of(WithOptionalField)
      assert.deepStrictEqual((yield* Effect.provide(other.get(id), again.layer)).state, { total: 3, count: 2 })
      assert.deepStrictEqual(again.lines, [])
    })
  )

  it.effect("of an earlier version is upcast by its step", () =>
    Effect.gen(function* () {
      const orders = (yield* open(yield* snapshot)).repository.of(WithVersion)
      assert.deepStrictEqual((yield* orders.get(id)).state, { total: 3, count: 7 })
    })
  )

  it.effect("without a fingerprint, like those of earlier releases, is used unchanged", () =>
    Effect.gen(function* () {
      const log = yield* snapshot
      const recorder = Context.get(log, SnapshotRecorder.SnapshotRecorder)
      const stored = yield* recorder.load(First.stream(id))
      if (stored === undefined) return assert.fail("there is none")
      yield* recorder.save({ ...stored, encoding: "json", payload: '{"total":30}' })
      assert.deepStrictEqual((yield* (yield* open(log)).repository.of(First).get(id)).state, { total: 30 })
    })
  )
})

interface Tree {
  readonly next: Tree | null
}
const Tree: Schema.Codec<Tree> = Schema.Struct({ next: Schema.NullOr(Schema.suspend((): Schema.Codec<Tree> => Tree)) })
class Point extends Schema.Class<Point>("Point")({ x: Schema.Int }) {}
class Point2 extends Schema.Class<Point2>("Point")({ x: Schema.Int, y: Schema.optionalKey(Schema.Int) }) {}

describe("the fingerprint of a schema", () => {
  const schemas: ReadonlyArray<Schema.Constraint> = [
    Schema.String,
    Schema.NonEmptyString,
    Schema.String.check(Schema.isMaxLength(5)),
    Schema.String.check(Schema.isMaxLength(6)),
    Schema.Int,
    Schema.Number,
    Schema.Literals(["a", "b"]),
    Schema.Literals(["a", "c"]),
    Schema.Literal("1"),
    Schema.Literal(1),
    Schema.Struct({ a: Schema.String }),
    Schema.Struct({ a: Schema.optionalKey(Schema.String) }),
    Schema.Struct({ a: Schema.optional(Schema.String) }),
    Schema.Struct({ a: Schema.String, b: Schema.optionalKey(Schema.String) }),
    Schema.Array(Schema.String),
    Schema.Tuple([Schema.String]),
    Schema.Record(Schema.String, Schema.String),
    Schema.Date,
    Schema.DateFromString,
    Schema.DateTimeUtc,
    Schema.Option(Schema.String),
    Schema.Option(Schema.Int),
    Tree,
    Point,
    Point2
  ]

  it("differs between schemas, and is the same in every process", () => {
    const all = schemas.map(fingerprint)
    assert.strictEqual(new Set(all).size, schemas.length)
    for (const one of all) assert.match(one, /^[0-9a-f]{16}$/)
    // snapshots are identified by it: if a release of Effect changed it, all of them would be ignored once
    assert.strictEqual(fingerprint(Schema.Struct({ total: Schema.Int })), "1f59dd482e0008b7")
  })

  it("does not depend on the order of fields, nor on descriptions", () => {
    const one = Schema.Struct({ a: Schema.String, b: Schema.Int })
    const other = Schema.Struct({ b: Schema.Int, a: Schema.String.annotate({ description: "a text" }) })
    assert.strictEqual(fingerprint(one), fingerprint(other))
  })
})
