import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Deferred, Effect, Exit, Fiber, Layer, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { SnapshotRecorder as Port } from "effect-eventsourcing"
import {
  Aggregate,
  EventSourcingError,
  EventStore,
  Evolution,
  Mapper,
  Repository,
  SnapshotRecorder,
  SnapshotStore
} from "effect-eventsourcing"
import { Counter, increase, makeCounter } from "../support/dog.ts"
import type { Log } from "../support/memoryLog.ts"
import { capturingLogs, counting, makeLog, open, withSnapshotRecorder } from "../support/memoryLog.ts"

const one = Counter.Id.make("1")
const start = Counter.Started()
const to = (count: number) => Counter.Increased({ to: count })

const failure = new EventSourcingError.RecorderFailure({ operation: "snapshot", reason: "the disk is full" })

const storedIn = (log: Log) => Context.get(log, SnapshotRecorder.SnapshotRecorder).load(Counter.stream(one))

/** A log whose snapshots can be waited for: they are saved in the background of commands. */
const watched = Effect.fnUntraced(function* (base: Log) {
  const saved = yield* Queue.unbounded<Port.StoredSnapshot>()
  const log = withSnapshotRecorder(base, (recorder) => ({
    save: (snapshot) => Effect.andThen(recorder.save(snapshot), Queue.offer(saved, snapshot))
  }))
  return { log, saved }
})

/** Lets background work finish. */
const settle = Effect.replicateEffect(Effect.yieldNow, 100)

describe("snapshotEvery", () => {
  it.effect("takes a snapshot whenever that many events have been recorded", () =>
    Effect.gen(function* () {
      const { log, saved } = yield* watched(yield* makeLog)
      const counters = (yield* open(log)).repository.of(makeCounter({ snapshotEvery: 3 }))
      yield* counters.execute(one, start)
      for (let i = 0; i < 9; i++) yield* counters.execute(one, increase)
      const versions = [yield* Queue.take(saved), yield* Queue.take(saved), yield* Queue.take(saved)]
      assert.deepStrictEqual(
        versions.map(({ payload, version }) => [version, payload]),
        [
          [2, "2"],
          [5, "5"],
          [8, "8"]
        ]
      )
      yield* settle
      assert.strictEqual(yield* Queue.size(saved), 0)
    })
  )

  it.effect.each([
    ["over a boundary", 3, [2, 2, 2], [3, 5]],
    ["onto a boundary", 4, [4, 4], [3, 7]],
    ["over several boundaries at once", 2, [7, 1], [6, 7]],
    ["not as far as one", 10, [9], []],
    ["one by one", 1, [1, 1, 1], [0, 1, 2]]
  ] as const)("takes one if an append of several events goes %s", ([, snapshotEvery, appends, expected]) =>
    Effect.gen(function* () {
      const { log, saved } = yield* watched(yield* makeLog)
      const counters = (yield* open(log)).repository.of(makeCounter({ snapshotEvery }))
      let recorded = 0
      for (const count of appends) {
        const events = Array.from({ length: count }, () => (recorded++ === 0 ? start : to(recorded - 1)))
        yield* counters.execute(one, events as [(typeof events)[number]])
      }
      yield* settle
      assert.deepStrictEqual(
        (yield* Queue.clear(saved)).map(({ version }) => version),
        expected as ReadonlyArray<number> as Array<number>
      )
    })
  )

  it.effect("takes none if nothing was recorded", () =>
    Effect.gen(function* () {
      const { log, saved } = yield* watched(yield* makeLog)
      const counters = (yield* open(log)).repository.of(makeCounter({ snapshotEvery: 1 }))
      yield* counters.execute(one, start)
      assert.strictEqual((yield* Queue.take(saved)).version, 0)
      yield* counters.execute(
        one,
        Counter.decide(() => [])
      )
      yield* Effect.exit(
        counters.execute(
          one,
          Counter.decide(() => Effect.fail("no"))
        )
      )
      yield* settle
      assert.strictEqual(yield* Queue.size(saved), 0)
    })
  )

  it.effect("also takes those of events that a transaction records", () =>
    Effect.gen(function* () {
      const { log, saved } = yield* watched(yield* makeLog)
      const { repository } = yield* open(log)
      const Kept = makeCounter({ snapshotEvery: 2 })
      yield* repository.of(Kept).execute(one, start)
      yield* repository
        .transaction({ counter: Repository.existing(Kept, one) }, () => ({ counter: to(1) }))
        .pipe(Effect.provideContext(log))
      yield* settle
      assert.deepStrictEqual(
        (yield* Queue.clear(saved)).map(({ version }) => version),
        [1]
      )
    })
  )

  it.each([0, -1, 1.5, Number.NaN, Infinity])("can't be %d", (snapshotEvery) => {
    assert.throws(() => makeCounter({ snapshotEvery }), "snapshotEvery must be a whole number of at least 1")
  })

  it.effect("of the layer holds for aggregates that have none, also in transactions", () =>
    Effect.gen(function* () {
      const { log, saved } = yield* watched(yield* makeLog)
      const { repository } = yield* open(log, { snapshotEvery: 2 })
      const counters = repository.of(Counter)
      yield* counters.execute(one, start)
      yield* counters.execute(one, increase)
      assert.strictEqual((yield* Queue.take(saved)).version, 1)
      const other = Counter.Id.make("2")
      yield* repository
        .transaction({ other: Repository.missing(Counter, other) }, () => ({ other: [start, to(1)] }))
        .pipe(Effect.provideContext(log))
      assert.strictEqual((yield* Queue.take(saved)).version, 1)
      // their own interval takes precedence
      const own = repository.of(makeCounter({ snapshotEvery: 3 }))
      const third = Counter.Id.make("3")
      yield* own.execute(third, [start, to(1)])
      yield* settle
      assert.strictEqual(yield* Queue.size(saved), 0)
      yield* own.execute(third, to(2))
      assert.strictEqual((yield* Queue.take(saved)).version, 2)
    }).pipe(Effect.scoped)
  )

  it.effect.each([0, -1, 1.5, Number.NaN, Infinity])("of the layer can't be %d", (snapshotEvery) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(open(yield* makeLog, { snapshotEvery }))
      assert.include(String(exit), "snapshotEvery must be a whole number of at least 1")
    })
  )
})

describe("a snapshot", () => {
  it.effect("is taken on demand, and saves reading the events before it", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const { repository, store } = yield* open(log)
      const events = Array.from({ length: 2000 }, (_, i) => (i === 0 ? start : to(i)))
      yield* store.append(Counter, one, { expected: "NoStream", events })
      const instance = yield* repository.of(Counter).snapshot(one)
      assert.deepInclude(instance, { id: one, version: 1999, state: 1999 })
      yield* repository.of(Counter).execute(one, increase)

      calls.readStream = 0
      const fresh = (yield* open(log)).repository.of(Counter)
      assert.deepInclude(yield* fresh.get(one), {
        version: 2000,
        state: 2000,
        createdAt: DateTime.makeUnsafe(0)
      })
      assert.strictEqual(calls.readStream, 1)
      const missing = yield* Effect.flip(fresh.snapshot(Counter.Id.make("2")))
      assert.strictEqual(missing._tag, "AggregateNotFound")
    })
  )

  it.effect("is not used for a version before it", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const counters = (yield* open(log)).repository.of(Counter)
      yield* counters.execute(one, [start, to(1), to(2)])
      yield* counters.snapshot(one)
      const fresh = (yield* open(log)).repository.of(Counter)
      assert.deepInclude(yield* fresh.get(one, { version: 1 }), { version: 1, state: 1 })
      assert.deepInclude(yield* fresh.get(one, { version: 2 }), { version: 2, state: 2 })
      assert.strictEqual((yield* Effect.flip(fresh.get(one, { version: 3 })))._tag, "AggregateNotFound")
    })
  )

  it.effect("on demand fails with the error of saving it", () =>
    Effect.gen(function* () {
      const log = withSnapshotRecorder(yield* makeLog, () => ({ save: () => Effect.fail(failure) }))
      const counters = (yield* open(log)).repository.of(Counter)
      yield* counters.execute(one, start)
      assert.strictEqual(yield* Effect.flip(counters.snapshot(one)), failure)
    })
  )

  it.effect("is not waited for by the command", () =>
    Effect.gen(function* () {
      const slow = yield* Deferred.make<void>()
      const log = withSnapshotRecorder(yield* makeLog, () => ({ save: () => Deferred.await(slow) }))
      const counters = (yield* open(log)).repository.of(makeCounter({ snapshotEvery: 1 }))
      yield* counters.execute(one, start)
      assert.deepInclude(yield* counters.execute(one, increase), { version: 1 })
      yield* Deferred.succeed(slow, undefined)
    })
  )

  it.effect("of the last command is saved before its layer closes", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      yield* Effect.scoped(
        Effect.flatMap(open(log), ({ repository }) =>
          repository.of(makeCounter({ snapshotEvery: 1 })).execute(one, start)
        )
      )
      assert.strictEqual((yield* storedIn(log))?.version, 0)
    })
  )

  it.effect("that is being taken delays the closing of its layer by at most 5 seconds", () =>
    Effect.gen(function* () {
      let interrupted = false
      const log = withSnapshotRecorder(yield* makeLog, () => ({
        save: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
      }))
      const scope = yield* Scope.make()
      const { repository } = yield* Scope.provide(open(log), scope)
      yield* repository.of(makeCounter({ snapshotEvery: 1 })).execute(one, start)
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isFalse(interrupted)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.isTrue(interrupted)
    })
  )

  it.effect.each([
    ["fails", Effect.fail(failure)],
    ["dies", Effect.die(new Error("a bug"))]
  ] as const)("that %s does not fail the command, and is reported", ([, save]) =>
    Effect.gen(function* () {
      const logs = capturingLogs()
      const log = withSnapshotRecorder(yield* makeLog, () => ({ save: () => save }))
      const counters = (yield* open(log)).repository.of(makeCounter({ snapshotEvery: 2 }))
      const executing = counters.execute(one, [start, to(1)])
      assert.deepInclude(yield* Effect.provide(executing, logs.layer), { version: 1, state: 1 })
      yield* settle
      assert.strictEqual(logs.lines.length, 1)
      assert.match(logs.lines[0] ?? "", /^Warn: the snapshot of "Counter-1" could not be saved/)
      assert.deepInclude(yield* counters.execute(one, increase), { version: 2 })
    })
  )

  it.effect("whose state does not fit its schema does not fail the command, and is reported", () =>
    Effect.gen(function* () {
      const logs = capturingLogs()
      const Sloppy = Aggregate.make("Sloppy", {
        state: Schema.Struct({ count: Schema.Int.check(Schema.isGreaterThan(0)) }),
        creation: { Made: {} },
        events: { Used: {} },
        reduce: { Made: () => ({ count: 0 }), Used: ({ count }) => ({ count: count + 1 }) },
        snapshotEvery: 1
      })
      const things = (yield* open(yield* makeLog)).repository.of(Sloppy)
      yield* Effect.provide(things.execute(Sloppy.id("a"), Sloppy.Made()), logs.layer)
      yield* settle
      assert.strictEqual(logs.lines.length, 1)
    })
  )

  it.effect("that can't be loaded does not fail a command either, and is reported: the events are read", () =>
    Effect.gen(function* () {
      const logs = capturingLogs()
      const base = yield* makeLog
      yield* (yield* open(base)).repository.of(Counter).execute(one, [start, to(1)])
      const log = withSnapshotRecorder(base, () => ({ load: () => Effect.fail(failure) }))
      const counters = (yield* open(log)).repository.of(Counter)
      const executing = counters.execute(one, increase)
      assert.deepInclude(yield* Effect.provide(executing, logs.layer), { version: 2, state: 2 })
      assert.strictEqual(logs.lines.length, 1)
    })
  )

  it.effect("that can't be read is skipped, reported, and replaced by the next", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const { log, saved } = yield* watched(base)
      const writer = (yield* open(base)).repository.of(Counter)
      yield* writer.execute(one, [start, to(1), to(2)])
      yield* writer.snapshot(one)
      const good = (yield* storedIn(base)) as Port.StoredSnapshot
      yield* Context.get(base, SnapshotRecorder.SnapshotRecorder).save({ ...good, payload: '"two"' })

      const logs = capturingLogs()
      const counters = (yield* open(log)).repository.of(makeCounter({ snapshotEvery: 4 }))
      const executed = yield* Effect.provide(counters.execute(one, increase), logs.layer)
      assert.deepInclude(executed, { version: 3, state: 3 })
      assert.strictEqual(logs.lines.length, 1)
      assert.deepInclude(yield* Queue.take(saved), { version: 3, payload: "3" })
      assert.deepInclude(yield* storedIn(log), { version: 3, payload: "3" })
    })
  )

  it.effect("of an older version of the state is upcast, and one of a newer version is skipped", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const first = Evolution.version(1, Schema.Int)
      const second = first.version(2, Schema.Struct({ count: Schema.Int, doubled: Schema.Int }), (count) => ({
        count,
        doubled: 2 * count
      }))
      const make = <S extends typeof first | typeof second>(
        state: S,
        start: S["Type"],
        next: (to: number) => S["Type"]
      ) =>
        Aggregate.make("Counter", {
          state: state as Evolution.Any<S["Type"]>,
          creation: { Started: {} },
          events: { Increased: { to: Schema.Int } },
          reduce: { Started: () => start, Increased: (_, { to }) => next(to) }
        })
      const Old = make(first, 0, (to) => to)
      const New = make(second, { count: 0, doubled: 0 }, (to) => ({ count: to, doubled: 2 * to }))
      const id = Old.Id.make("1")
      const old = (yield* open(base)).repository.of(Old)
      yield* old.execute(id, [Old.Started(), Old.Increased({ to: 4 })])
      yield* old.snapshot(id)

      const { calls, log } = counting(base)
      const young = (yield* open(log)).repository.of(New)
      assert.deepStrictEqual((yield* young.get(id)).state, { count: 4, doubled: 8 })
      assert.strictEqual(calls.readStream, 1)
      yield* young.snapshot(id)
      // the older program finds a snapshot of a newer one: it reads the events instead
      const logs = capturingLogs()
      const again = (yield* open(base)).repository.of(Old)
      assert.strictEqual((yield* Effect.provide(again.get(id), logs.layer)).state, 4)
      assert.strictEqual(logs.lines.length, 1)
    })
  )
})

it.effect("a snapshot store can be replaced on its own", () =>
  Effect.gen(function* () {
    const kept: Array<number> = []
    const store = SnapshotStore.SnapshotStore.of({
      save: (_aggregate, { version }) => Effect.sync(() => kept.push(version)),
      load: () => Effect.succeed(undefined)
    })
    const layer = Repository.layer().pipe(
      Layer.provide(Layer.mergeAll(EventStore.layer, Layer.succeed(SnapshotStore.SnapshotStore, store))),
      Layer.provide(Mapper.layerJson)
    )
    const context = yield* Effect.provideContext(Layer.build(layer), yield* makeLog)
    const counters = Context.get(context, Repository.Repository).of(makeCounter({ snapshotEvery: 2 }))
    yield* counters.execute(one, [start, to(1)])
    yield* settle
    assert.deepStrictEqual(kept, [1])
  })
)
