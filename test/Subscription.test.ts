/** Subscriptions on every backend: from the past into the present, shared within a process, none slowed by another. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Fiber, Layer, Logger, Random, Schedule, Stream } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { EventSourcing, EventSourcingError, EventStore, Position, Repository, Subscription } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { newPrefix, uri } from "./kurrent/support/server.ts"
import { newSchema, url } from "./postgres/support/database.ts"
import { Counter, Dog, increase } from "./support/dog.ts"
import { makeLog, withRecorder } from "./support/memoryLog.ts"

type Services = EventSourcing.EventSourcing | Recorder.Recorder

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "subscription-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

const backends: Readonly<Record<string, Effect.Effect<Layer.Layer<Services, unknown>, never, Scope.Scope>>> = {
  memory: Effect.sync(() => MemoryLayer()),
  SQLite: Effect.map(temporaryDirectory, (directory) => SqliteLayer({ filename: Path.join(directory, "log.db") })),
  PostgreSQL: Effect.map(newSchema, (schema) => PostgresLayer({ url: url(), schema })),
  KurrentDB: Effect.sync(() => KurrentLayer({ connectionString: uri, prefix: newPrefix() }))
}

/** Increases a counter by one, `count` times. */
const countUp = Effect.fnUntraced(function* (id: string, count: number) {
  const counters = yield* Repository.of(Counter)
  const counter = Counter.id(id)
  yield* Effect.catchTag(counters.execute(counter, Counter.Started()), "AggregateAlreadyExists", () => Effect.void)
  for (let n = 0; n < count; n++) yield* counters.execute(counter, increase)
})

/** What a subscription has delivered so far, and how to wait for more. */
const collect = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.gen(function* () {
    const seen: Array<A> = []
    const fiber = yield* stream.pipe(
      Stream.runForEach((one) => Effect.sync(() => seen.push(one))),
      Effect.forkScoped({ startImmediately: true })
    )
    const until = (condition: (seen: ReadonlyArray<A>) => boolean) =>
      Effect.suspend(() => (condition(seen) ? Effect.void : Effect.fail("not yet"))).pipe(
        Effect.retry(Schedule.spaced("5 millis")),
        Effect.raceFirst(Effect.andThen(Fiber.join(fiber), Effect.die(new Error("the subscription ended"))))
      )
    return { seen, until }
  })

const places = (events: ReadonlyArray<{ readonly stream: string; readonly version: number }>) =>
  events.map(({ stream, version }) => `${stream} ${version}`)

const whole = Effect.flatMap(EventStore.EventStore, (store) =>
  Effect.map(Stream.runCollect(store.readAll([Counter, Dog])), (events) => [...events])
)

describe.concurrent.each(Object.entries(backends))("subscriptions on %s", (_, makeLayer) => {
  const test = (name: string, run: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(name, () => Effect.flatMap(makeLayer, (layer) => Effect.provide(run(), layer)))

  test("G3 several concurrent subscriptions each receive all events, old and new, once and in order", () =>
    Effect.gen(function* () {
      yield* countUp("before", 20)
      const one = yield* collect(Subscription.all([Counter, Dog]))
      yield* one.until(({ length }) => length === 21)
      const writing = yield* Effect.forkScoped(
        Effect.forEach(["a", "b", "c", "d"], (id) => countUp(id, 25), { concurrency: "unbounded" })
      )
      const others = yield* Effect.forEach([1, 2, 3], () => collect(Subscription.all([Counter, Dog])))
      yield* Fiber.join(writing)
      const expected = places(yield* whole)
      assert.strictEqual(expected.length, 21 + 4 * 26)
      for (const { seen, until } of [one, ...others]) {
        yield* until(({ length }) => length >= expected.length)
        assert.deepStrictEqual(places(seen), expected)
      }
    }))

  test("it begins at the start, after a position, or with the next event", () =>
    Effect.gen(function* () {
      yield* countUp("1", 5)
      const before = yield* whole
      const behind = yield* Effect.forEach(before, ({ position }) =>
        collect(Subscription.all([Counter, Dog], { from: position }))
      )
      const next = yield* Deferred.make<void>()
      const end = yield* collect(
        Subscription.all([Counter, Dog], {
          from: "end",
          onState: ({ _tag }) => (_tag === "Live" ? Effect.asVoid(Deferred.succeed(next, undefined)) : Effect.void)
        })
      )
      yield* Deferred.await(next)
      yield* countUp("1", 3)
      const expected = places(yield* whole)
      for (const [i, { seen, until }] of behind.entries()) {
        yield* until(({ length }) => length >= expected.length - i - 1)
        assert.deepStrictEqual(places(seen), expected.slice(i + 1))
      }
      yield* end.until(({ length }) => length >= 3)
      assert.deepStrictEqual(places(end.seen), expected.slice(-3))
    }))

  test("G3 a start beyond the head is refused, and a start at the newest event is not", () =>
    Effect.gen(function* () {
      const from = Position.fromStorage(1n << 50n)
      const refused = Effect.flip(Stream.runDrain(Subscription.all([Counter], { from })))
      assert.deepInclude(yield* refused, { _tag: "PositionBeyondHead", from, head: undefined })
      yield* countUp("1", 2)
      const head = (yield* whole).at(-1)?.position
      assert.deepInclude(yield* refused, { _tag: "PositionBeyondHead", from, head })
      const batches = Subscription.batches([Dog], { from })
      assert.deepInclude(yield* Effect.flip(Stream.runDrain(batches)), { _tag: "PositionBeyondHead", from, head })
      const one = Subscription.stream(Counter, Counter.id("1"), { from })
      assert.deepInclude(yield* Effect.flip(Stream.runDrain(one)), { _tag: "PositionBeyondHead", from, head })
      // the process's own reader of the end may not have reached what was recorded just now
      const counters = yield* Repository.of(Counter)
      const started: Array<Effect.Success<ReturnType<typeof collect>>> = []
      for (let n = 0; n < 20; n++) {
        const { position } = yield* counters.execute(Counter.id("1"), increase)
        started.push(yield* collect(Subscription.all([Counter], { from: position ?? "start" })))
      }
      yield* counters.execute(Counter.id("1"), increase)
      for (const { until } of started) yield* until(({ length }) => length > 0)
    }))

  test("of one type of aggregate, of one aggregate, of some event types: these and no others, old and new", () =>
    Effect.gen(function* () {
      const dogs = yield* Repository.of(Dog)
      const one = Counter.stream(Counter.id("1"))
      const write = Effect.fnUntraced(function* (round: string) {
        yield* countUp("1", 3)
        yield* dogs.execute(Dog.id(`rex${round}`), Dog.Registered({ name: "Rex" }))
        yield* dogs.execute(Dog.id(`rex${round}`), Dog.TrickAdded({ trick: "sit" }))
        yield* countUp("2", 2)
        yield* dogs.execute(Dog.id(`rex${round}`), Dog.Rested())
      })
      yield* write("1")
      const first = (yield* whole)[2]
      const subscriptions = [
        [yield* collect(Subscription.category(Dog)), (stream: string) => stream.startsWith("Dog-")],
        [yield* collect(Subscription.stream(Counter, Counter.id("1"))), (stream: string) => stream === one],
        [
          yield* collect(Subscription.types(Dog, ["TrickAdded", "Rested"])),
          (stream: string, tag: string) => stream.startsWith("Dog-") && tag !== "Registered"
        ]
      ] as const
      const later = yield* collect(Subscription.stream(Counter, Counter.id("1"), { from: first?.position }))
      yield* write("2")
      const all = yield* whole
      for (const [{ seen, until }, belongs] of subscriptions) {
        const expected = places(all.filter(({ stream, event }) => belongs(stream, event._tag)))
        yield* until(({ length }) => length >= expected.length)
        assert.deepStrictEqual(places(seen), expected)
      }
      const behind = places(all.slice(3).filter(({ stream }) => stream === one))
      yield* later.until(({ length }) => length >= behind.length)
      assert.deepStrictEqual(places(later.seen), behind)
    }))

  test("a batch reports its position, also past the events that it omits, and when it has reached the end", () =>
    Effect.gen(function* () {
      yield* countUp("1", 3)
      const { seen, until } = yield* collect(Subscription.batches([Dog]))
      const store = yield* EventStore.EventStore
      const reached = (batches: ReadonlyArray<Subscription.Batch<unknown>>, head: bigint | undefined) => {
        const last = batches.at(-1)
        return last?.caughtUp === true && last.position !== undefined && head !== undefined && last.position >= head
      }
      const before = yield* store.head
      yield* until((batches) => reached(batches, before))
      yield* countUp("1", 2)
      const after = yield* store.head
      yield* until((batches) => reached(batches, after))
      assert.isTrue(seen.every(({ events }) => events.length === 0))
    }))

  test("a slow one misses nothing, and delays neither others nor writers", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const gate = yield* Deferred.make<void>()
      const slow = yield* collect(
        Subscription.batches([Counter]).pipe(
          Stream.tap(({ events }) => (events.length > 0 ? Deferred.await(gate) : Effect.void))
        )
      )
      const fast = yield* collect(Subscription.all([Counter]))
      // more events than are kept for followers
      const rounds = 12
      for (let round = 0; round < rounds; round++) {
        const events = Array.from({ length: 1000 }, (_, n) =>
          n === 0 ? Counter.Started() : Counter.Increased({ to: n })
        )
        yield* store.append(Counter, Counter.id(`${round}`), { expected: "NoStream", events })
        yield* fast.until(({ length }) => length >= (round + 1) * 1000)
      }
      yield* Deferred.succeed(gate, undefined)
      const count = (batches: ReadonlyArray<Subscription.Batch<unknown>>) =>
        batches.reduce((sum, { events }) => sum + events.length, 0)
      yield* slow.until((batches) => count(batches) >= rounds * 1000)
      const expected = places(yield* whole)
      assert.deepStrictEqual(places(slow.seen.flatMap(({ events }) => events)), expected)
      assert.deepStrictEqual(places(fast.seen), expected)
    }))

  test("G3 subscriptions that stop and resume while others write receive each event once", () =>
    Effect.gen(function* () {
      const writing = yield* Effect.forkScoped(
        Effect.forEach(["a", "b", "c"], (id) => countUp(id, 60), { concurrency: "unbounded" })
      )
      const reader = Effect.gen(function* () {
        const seen: Array<EventStore.PositionedOf<typeof Counter>> = []
        while (seen.length < 3 * 61) {
          const take = Math.min(yield* Random.nextIntBetween(1, 20), 3 * 61 - seen.length)
          const some = yield* Stream.runCollect(
            Stream.take(Subscription.category(Counter, { from: seen.at(-1)?.position ?? "start" }), take)
          )
          seen.push(...some)
        }
        return places(seen)
      })
      const seen = yield* Effect.all([reader, reader], { concurrency: "unbounded" })
      yield* Fiber.join(writing)
      const expected = places(yield* whole)
      for (const one of seen) assert.deepStrictEqual(one, expected)
    }))
})

it.live.each(["start", "end"] as const)(
  "G12 one that begins, from the %s, while its log can't be reached, reports it and waits",
  (from) =>
    Effect.gen(function* () {
      const base = yield* makeLog
      let away = 3
      const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "read", reason: "not now" })
      const log = withRecorder(base, ({ head }) => ({
        head: Effect.suspend(() => (away-- > 0 ? Effect.fail(unavailable) : head))
      }))
      yield* Effect.gen(function* () {
        const states: Array<string> = []
        const onState = ({ _tag }: Recorder.FollowState) =>
          Effect.sync(() => {
            states.push(_tag)
          })
        const { until } = yield* collect(Subscription.batches([Counter], { from, onState }))
        yield* until((batches) => batches.some(({ caughtUp }) => caughtUp))
        assert.deepStrictEqual(states.slice(0, 4), ["Retrying", "Retrying", "Retrying", "CatchingUp"])
        yield* countUp("a", 2)
        yield* until((batches) => batches.flatMap(({ events }) => events).length === 3)
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.provideMerge(EventSourcing.layer(), Layer.succeedContext(log))),
        Effect.provide(Logger.layer([]))
      )
    })
)

it.live("G12 one whose onState fails once is still notified of later states", () =>
  Effect.gen(function* () {
    const base = yield* makeLog
    const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "read", reason: "not now" })
    const log = withRecorder(base, ({ follow }) => ({
      follow: (options) =>
        Stream.unwrap(
          Effect.as(
            Effect.forkScoped(
              Effect.gen(function* () {
                for (const attempts of [1, 2]) {
                  yield* Effect.sleep("50 millis")
                  yield* options.onState?.({
                    ...{ _tag: "Retrying", position: undefined, since: 0, attempts, error: unavailable }
                  }) ?? Effect.void
                }
              })
            ),
            follow(options)
          )
        )
    }))
    yield* Effect.gen(function* () {
      const attempts: Array<number> = []
      const onState = (state: Recorder.FollowState) => {
        if (state._tag !== "Retrying") return Effect.void
        attempts.push(state.attempts)
        return state.attempts === 1 ? Effect.die("no") : Effect.void
      }
      yield* collect(Subscription.batches([Counter], { onState }))
      while (attempts.length < 2) yield* Effect.sleep("10 millis")
      assert.deepStrictEqual(attempts, [1, 2])
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.provideMerge(EventSourcing.layer(), Layer.succeedContext(log))),
      Effect.provide(Logger.layer([]))
    )
  })
)

it.live("G3 each receives its events once and in order, whatever is kept in memory", () =>
  Effect.gen(function* () {
    // some events: most are read again, in pages of two or three
    const layer = MemoryLayer({ pageBytes: 30, tailBytes: 100 })
    yield* Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const gate = yield* Deferred.make<void>()
      const all = yield* collect(Subscription.all([Counter, Dog]))
      const slow = yield* collect(Subscription.batches([Counter]).pipe(Stream.tap(() => Deferred.await(gate))))
      const one = yield* collect(Subscription.stream(Counter, Counter.id("3")))
      const late: Array<typeof all> = []
      for (let round = 0; round < 10; round++) {
        yield* store.append(Dog, Dog.id(`${round}`), {
          expected: "NoStream",
          events: [Dog.Registered({ name: "Rex" }), Dog.TrickAdded({ trick: "x".repeat(round * 20) || "sit" })]
        })
        yield* countUp(`${round}`, 7)
        late.push(yield* collect(Subscription.all([Counter, Dog])))
      }
      yield* Deferred.succeed(gate, undefined)
      const expected = yield* whole
      for (const { seen, until } of [all, ...late]) {
        yield* until(({ length }) => length >= expected.length)
        assert.deepStrictEqual(places(seen), places(expected))
      }
      const counted = expected.filter(({ aggregate }) => aggregate === "Counter")
      yield* slow.until((batches) =>
        batches.some(({ caughtUp, position }) => caughtUp && position === expected.at(-1)?.position)
      )
      assert.deepStrictEqual(places(slow.seen.flatMap(({ events }) => events)), places(counted))
      yield* one.until(({ length }) => length >= 8)
      assert.deepStrictEqual(
        one.seen.map(({ version }) => version),
        [0, 1, 2, 3, 4, 5, 6, 7]
      )
    }).pipe(Effect.scoped, Effect.provide(layer))
  })
)
