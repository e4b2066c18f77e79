/** The contract of processes on a backend that has {@link TrackedAppend}. */
import { assert, describe } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Exit, Fiber, Latch, Layer, Schema, Stream, SubscriptionRef } from "effect"
import * as Aggregate from "../../Aggregate.ts"
import * as EventSourcing from "../../EventSourcing.ts"
import {
  CausationTooDeep,
  ProcessFailed,
  ProcessSuperseded,
  RecorderUnavailable,
  UpstreamChanged
} from "../../EventSourcingError.ts"
import { EventStore } from "../../EventStore.ts"
import { LogReader } from "../../LogReader.ts"
import { fromStorage } from "../../Position.ts"
import * as Process from "../../Process.ts"
import type { Recorder } from "../../Recorder.ts"
import * as Repository from "../../Repository.ts"
import type { SnapshotRecorder } from "../../SnapshotRecorder.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import type { Backend } from "./Backend.ts"
import { testsOn } from "./internal/register.ts"
import { Order, orderId, Purse, Shipment, Shipping, TooFewCoins, take } from "./internal/shop.ts"

type Ports = Recorder | SnapshotRecorder | TrackedAppend
type Services = Ports | EventSourcing.EventSourcing

/** How long tests wait for something to happen: only a test that hangs takes as long. */
const LONG = { timeout: "100 seconds" } as const

/** Registers the tests of processes: P1 to P8, G10, G12. */
export const processContract = (backend: Backend<Ports>): void => {
  describe(`Process contract on ${backend.name}`, () => {
    onceTests(backend)
    decidingTests(backend)
    loopTests(backend)
    stoppingTests(backend)
    logTests(backend)
    versionTests(backend)
  })
}

/** Runs with the layers above the recorders of a connection. */
const above = <A, E, R>(
  ports: Context.Context<Ports>,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, unknown, Exclude<R, Services>> =>
  Effect.provide(
    self,
    EventSourcing.layer().pipe(Layer.provideMerge(Layer.succeedContext(ports))) as Layer.Layer<Services>,
    { local: true }
  )

/** The parts of each test: two connections to a new log. */
interface Two {
  /** Runs on the first connection. */
  readonly one: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, unknown, Exclude<R, Services>>
  /** Runs on the other connection. */
  readonly other: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, unknown, Exclude<R, Services>>
  readonly ports: Context.Context<Ports>
}

const processTestsOn =
  (backend: Backend<Ports>) =>
  <A, E>(name: string, body: (two: Two) => Effect.Effect<A, E, Scope.Scope>): void =>
    testsOn(backend)(name, ({ connect }) =>
      Effect.gen(function* () {
        const ports = yield* connect
        const others = yield* connect
        return yield* body({ ports, one: (self) => above(ports, self), other: (self) => above(others, self) })
      })
    )

/** Places orders and adds items to them, some orders at a time. Returns the position of the last event. */
const write = (orders: number, items: number, first = 0) =>
  Effect.gen(function* () {
    const store = yield* EventStore
    yield* Effect.forEach(
      Array.from({ length: orders }, (_, n) => orderId(first + n)),
      (id) =>
        Effect.gen(function* () {
          yield* store.append(Order, id, { expected: "NoStream", events: [Order.Placed({ customer: "ada" })] })
          for (let n = 0; n < items; n++) {
            const event = n % 5 === 4 ? Order.Noted() : Order.ItemAdded({ sku: `${n}` })
            yield* store.append(Order, id, { expected: n, events: [event] })
          }
        }),
      { concurrency: 4, discard: true }
    )
    return yield* store.head
  })

/** Asserts that each handled event of an order has led to one event of its shipment, in the same order. */
const assertShipped = Effect.gen(function* () {
  const store = yield* EventStore
  const all = yield* Stream.runCollect(store.readAll([Order, Shipment]))
  const causes = new Map<string, Array<string>>()
  const results = new Map<string, Array<string | undefined>>()
  for (const { aggregate, aggregateId, event, id, metadata } of all) {
    if (aggregate === "Shipment") {
      results.set(aggregateId, [...(results.get(aggregateId) ?? []), metadata.causationId])
    } else if (event._tag === "Placed" || event._tag === "ItemAdded") {
      causes.set(aggregateId, [...(causes.get(aggregateId) ?? []), id])
    }
  }
  assert.deepStrictEqual([...results].sort(), [...causes].sort())
  return all.length
})

/** Starts a runner; a test's first connections are closed after it. */
const until = <E>(runner: Process.Runner<E>, tag: Process.State["_tag"]) =>
  SubscriptionRef.changes(runner.state).pipe(
    Stream.takeUntil(({ _tag }) => _tag === tag),
    Stream.runDrain
  )

const patient = { patience: "20 millis" } as const

const onceTests = (backend: Backend<Ports>): void => {
  const test = processTestsOn(backend)

  test("P1 each event takes effect once and in order, with two runners and a writer at the same time", ({
    one,
    other
  }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* Effect.forkScoped(one(Process.run(Shipping, { ...patient, maxBatch: 5 })))
        yield* Effect.forkScoped(other(Process.run(Shipping, { ...patient, maxBatch: 3, cacheCapacity: 4 })))
        const position = yield* other(write(12, 12))
        yield* one(Process.wait(Shipping, position, LONG))
        yield* one(assertShipped)
      })
    ))

  test("P1 an append whose answer is lost, before or after it was done, is not repeated", ({ ports, one }) =>
    Effect.gen(function* () {
      yield* one(write(6, 6))
      const tracked = Context.get(ports, TrackedAppend)
      const lost = new RecorderUnavailable({ operation: "append", reason: "the answer is lost" })
      let calls = 0
      const flaky = TrackedAppend.of({
        ...tracked,
        append: (...args) =>
          Effect.suspend(() => {
            calls++
            if (calls % 3 === 1) return Effect.fail(lost)
            return calls % 3 === 2
              ? Effect.andThen(tracked.append(...args), Effect.fail(lost))
              : tracked.append(...args)
          })
      })
      const settling = Process.settle([Shipping], { maxBatch: 4 })
      yield* above(Context.add(ports, TrackedAppend, flaky), settling)
      assert.isAbove(calls, 10)
      yield* one(assertShipped)
    }))

  test("P1 a backend that is away for a while stops no runner, which shows that and then resumes", ({ ports, one }) =>
    Effect.scoped(
      Effect.gen(function* () {
        const tracked = Context.get(ports, TrackedAppend)
        const away = new RecorderUnavailable({ operation: "append", reason: "it is away" })
        let isAway = false
        const sometimes = TrackedAppend.of({
          progress: (key) => Effect.suspend(() => (isAway ? Effect.fail(away) : tracked.progress(key))),
          append: (...args) => Effect.suspend(() => (isAway ? Effect.fail(away) : tracked.append(...args))),
          position: (key) => Effect.suspend(() => (isAway ? Effect.fail(away) : tracked.position(key)))
        })
        const shown = yield* Latch.make()
        const back = yield* Latch.make()
        const running = Effect.scoped(
          Effect.gen(function* () {
            const runner = yield* Process.start(Shipping, patient)
            yield* until(runner, "Live")
            isAway = true
            yield* write(2, 3)
            yield* until(runner, "Retrying")
            yield* shown.open
            isAway = false
            yield* Process.wait(Shipping, yield* Effect.flatMap(EventStore, ({ head }) => head), LONG)
            yield* until(runner, "Live")
            yield* back.open
          })
        )
        yield* above(Context.add(ports, TrackedAppend, sometimes), running)
        yield* shown.await
        yield* back.await
        yield* one(assertShipped)
      })
    ))

  test("P1 G10 interrupted at any moment and started again, it resumes", ({ one, other }) =>
    Effect.gen(function* () {
      yield* one(write(6, 10))
      for (let round = 0; round < 30; round++) {
        const settling = Process.settle([Shipping], { maxBatch: 2 })
        yield* one(Effect.raceFirst(settling, Effect.repeat(Effect.yieldNow, { times: round * 7 })))
        yield* one(Effect.raceFirst(Process.run(Shipping, { maxBatch: 1 }), Effect.sleep(round % 4)))
      }
      yield* other(Process.settle([Shipping]))
      yield* one(assertShipped)
    }))

  test("P1 what is recorded has the ids of its cause and its depth, and the tracking that of the log", ({ one }) =>
    one(
      Effect.gen(function* () {
        yield* write(1, 1)
        yield* Process.settle([Shipping])
        const store = yield* EventStore
        const [placed, added, requested, parcel] = yield* Stream.runCollect(store.readAll([Order, Shipment]))
        const { attributes, causationDepth, causationId, correlationId } = requested!.metadata
        assert.deepStrictEqual(
          { attributes, causationDepth, causationId, correlationId },
          { attributes: {}, causationDepth: 1, causationId: placed!.id, correlationId: placed!.id }
        )
        assert.strictEqual(parcel?.metadata.causationId, added?.id)
        // a position is meaningless in another log
        const { progress } = yield* TrackedAppend
        const { logId } = yield* LogReader
        assert.deepStrictEqual(yield* progress({ projection: "shipping", version: 1, upstream: "log", slice: 0 }), {
          position: added!.position,
          note: { logId, eventId: added!.id }
        })
      })
    ))
}

/** Takes a coin for each order, or rejects it. */
const Paying = Process.make("paying", {
  follows: [Order],
  begin: "start",
  handlers: {
    Order: {
      Placed: ({ aggregateId, event }) =>
        Process.whenRefused(Process.execute(Purse, Purse.Id.make(event.customer), take(1)), "TooFewCoins", () =>
          Process.execute(Order, aggregateId, Order.Rejected())
        ),
      ItemAdded: Process.ignore,
      Rejected: Process.ignore,
      Noted: Process.ignore
    }
  }
})

const place = (n: number, customer = "ada") =>
  Effect.flatMap(Repository.of(Order), (orders) =>
    Effect.map(orders.execute(orderId(n), Order.Placed({ customer })), ({ position }) => position)
  )

const ada = Purse.Id.make("ada")

const purse = <A, E>(
  f: (purses: Repository.AggregateRepository<typeof Purse>) => Effect.Effect<A, E>
): Effect.Effect<A, E, Repository.Repository> => Effect.flatMap(Repository.of(Purse), f)

const decidingTests = (backend: Backend<Ports>): void => {
  const test = processTestsOn(backend)

  test("P2 what a decision rests on is checked when it is recorded, while others change it", ({ one, other }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* one(purse((purses) => purses.execute(ada, Purse.Opened({ coins: 3 }))))
        yield* Effect.forkScoped(one(Process.run(Paying, { ...patient, maxBatch: 8 })))
        const others = purse((purses) =>
          Effect.forEach(
            Array.from({ length: 12 }, (_, n) => n),
            (n) =>
              n % 3 === 0
                ? purses.execute(ada, Purse.Put({ coins: 2 }))
                : Effect.catchTag(purses.execute(ada, take(1)), "TooFewCoins", () => Effect.void),
            { discard: true }
          )
        )
        const orders = Effect.forEach(
          Array.from({ length: 20 }, (_, n) => n),
          (n) => place(n)
        )
        const [, positions] = yield* Effect.all([other(others), other(orders)], { concurrency: 2 })
        yield* one(Process.wait(Paying, positions.at(-1), LONG))
        yield* one(
          Effect.gen(function* () {
            const store = yield* EventStore
            const all = yield* Stream.runCollect(store.readAll([Order, Purse]))
            let coins = 0
            for (const { event } of all) {
              if (event._tag === "Opened" || event._tag === "Put") coins += event.coins
              else if (event._tag === "Taken") coins -= event.coins
              assert.isAtLeast(coins, 0)
              // a refusal counts only as long as it holds
              if (event._tag === "Rejected") assert.strictEqual(coins, 0)
            }
            const results = all.filter(({ metadata }) => metadata.causationId !== undefined)
            const placed = all.filter(({ event }) => event._tag === "Placed")
            assert.deepStrictEqual(
              results.map(({ metadata }) => metadata.causationId).sort(),
              placed.map(({ id }) => id).sort()
            )
          })
        )
      })
    ))

  test("P2 a refused decision is taken on the state as it is then, not on a cached one", ({ one, other }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* one(purse((purses) => purses.execute(ada, Purse.Opened({ coins: 0 }))))
        yield* Effect.forkScoped(one(Process.run(Paying, patient)))
        yield* one(Process.wait(Paying, yield* other(place(1)), LONG))
        yield* other(purse((purses) => purses.execute(ada, Purse.Put({ coins: 1 }))))
        yield* one(Process.wait(Paying, yield* other(place(2)), LONG))
        const rejected = yield* other(
          Effect.flatMap(Repository.of(Order), (orders) =>
            Effect.forEach([1, 2], (n) => Effect.map(orders.get(orderId(n)), ({ state }) => state.rejected))
          )
        )
        assert.deepStrictEqual(rejected, [true, false])
      })
    ))

  test("P2 P3 a refusal that no longer holds when its result is recorded is decided on again", ({
    ports,
    one,
    other
  }) =>
    Effect.gen(function* () {
      yield* one(purse((purses) => purses.execute(ada, Purse.Opened({ coins: 0 }))))
      yield* one(place(1))
      const tracked = Context.get(ports, TrackedAppend)
      let attempts = 0
      // delays the append after the decision
      const late = TrackedAppend.of({
        ...tracked,
        append: (...args) =>
          Effect.suspend(() =>
            attempts++ > 0
              ? tracked.append(...args)
              : Effect.andThen(
                  Effect.orDie(other(purse((purses) => purses.execute(ada, Purse.Put({ coins: 5 }))))),
                  tracked.append(...args)
                )
          )
      })
      yield* above(Context.add(ports, TrackedAppend, late), Process.settle([Paying]))
      assert.strictEqual(attempts, 2)
      assert.strictEqual((yield* one(purse((purses) => purses.get(ada)))).state, 4)
    }))

  test("P1 all that is to be done because of an event is recorded, or nothing of it", ({ one }) =>
    one(
      Effect.gen(function* () {
        const purses = yield* Repository.of(Purse)
        const [bob, cy] = [Purse.Id.make("bob"), Purse.Id.make("cy")]
        for (const id of [ada, bob]) yield* purses.execute(id, Purse.Opened({ coins: 1 }))
        yield* purses.execute(cy, Purse.Opened({ coins: 0 }))
        yield* place(1)
        const paying = (version: number, pay: () => Process.Reactions<unknown>) =>
          Process.make("paying", {
            follows: [Order],
            begin: "start",
            version,
            handlers: {
              Order: { Placed: pay, ItemAdded: Process.ignore, Rejected: Process.ignore, Noted: Process.ignore }
            }
          })
        const coins = Effect.forEach([ada, bob, cy], (id) => Effect.map(purses.get(id), ({ state }) => state))
        const takeFrom = (id: typeof ada) => Process.execute(Purse, id, take(1))
        const error = yield* Effect.flip(Process.settle([paying(1, () => [takeFrom(ada), takeFrom(cy)])]))
        assert.instanceOf(error, ProcessFailed)
        assert.deepStrictEqual(yield* coins, [1, 1, 0])
        // what was decided in place of a refused reaction is undone if it is refused in turn
        const inPlace = Process.whenRefused(takeFrom(cy), "TooFewCoins", () => [takeFrom(ada), takeFrom(cy)])
        yield* Process.settle([paying(2, () => Process.whenRefused(inPlace, "TooFewCoins", () => takeFrom(bob)))])
        assert.deepStrictEqual(yield* coins, [1, 0, 0])
      })
    ))

  for (const [what, expected] of [
    ["is not acted on", "AggregateAlreadyExists"],
    ["does not stop it", undefined]
  ] as const) {
    test(`P3 a refusal that comes of what another runner has done ${what}: this one stands by`, ({ one, other }) =>
      Effect.scoped(
        Effect.gen(function* () {
          const [asked, answered] = [yield* Latch.make(), yield* Latch.make()]
          const shippingAfter = (wait: Effect.Effect<void>) =>
            Process.make("shipping", {
              follows: [Order],
              begin: "start",
              handlers: {
                Order: {
                  Placed: ({ aggregateId }) => {
                    const request = Process.execute(Shipment, Shipment.Id.make(aggregateId), Shipment.Requested())
                    const reject = () => Process.execute(Order, aggregateId, Order.Rejected())
                    const orRejected = Process.whenRefused(request, "AggregateAlreadyExists", reject)
                    return Effect.as(wait, expected === undefined ? request : orRejected)
                  },
                  ItemAdded: Process.ignore,
                  Rejected: Process.ignore,
                  Noted: Process.ignore
                }
              }
            })
          yield* one(place(1))
          const slow = shippingAfter(Effect.andThen(asked.open, answered.await))
          const running = Effect.scoped(
            Effect.gen(function* () {
              const runner = yield* Process.start(slow, patient)
              yield* Effect.raceFirst(until(runner, "Standby"), runner.join)
            })
          )
          const ended = yield* Effect.forkScoped(one(running))
          yield* asked.await
          yield* other(Process.settle([shippingAfter(Effect.void)]))
          yield* answered.open
          yield* Fiber.join(ended)
          const order = yield* other(Effect.flatMap(Repository.of(Order), (orders) => orders.get(orderId(1))))
          assert.strictEqual(order.version, 0)
        })
      ))
  }

  test("P3 a refusal on a cached state that has changed since does not stop the process", ({ one, other }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* one(purse((purses) => purses.execute(ada, Purse.Opened({ coins: 1 }))))
        const running = yield* Effect.forkScoped(one(Process.run(Billing, patient)))
        yield* one(Process.wait(Billing, yield* other(place(1)), LONG))
        yield* other(purse((purses) => purses.execute(ada, Purse.Put({ coins: 1 }))))
        const position = yield* other(place(2))
        yield* Effect.raceFirst(one(Process.wait(Billing, position, LONG)), Fiber.join(running))
        assert.strictEqual((yield* one(purse((purses) => purses.get(ada)))).state, 0)
      })
    ))
}

const Ball = Aggregate.make("Ball", {
  state: Schema.Int,
  creation: { Served: {} },
  events: { Hit: {} },
  reduce: { Served: () => 0, Hit: (hits) => hits + 1 }
})

const Wall = Aggregate.make("Wall", {
  state: Schema.Int,
  creation: { Built: {} },
  events: { Touched: {} },
  reduce: { Built: () => 0, Touched: (touches) => touches + 1 }
})

const [ball, wall] = [Ball.Id.make("1"), Wall.Id.make("1")]

/** A ball that is hit a limited number of times, and a wall that it touches in between. */
const games = (hits: number) =>
  [
    Process.make("player", {
      follows: [Ball],
      begin: "start",
      handlers: {
        Ball: {
          Served: () => Process.execute(Wall, wall, Wall.Touched()),
          Hit: () =>
            Process.execute(
              Wall,
              wall,
              Wall.decide((touches) => (touches < hits ? Wall.Touched() : []))
            )
        }
      }
    }),
    Process.make("wall", {
      follows: [Wall],
      begin: "start",
      handlers: { Wall: { Built: Process.ignore, Touched: () => Process.execute(Ball, ball, Ball.Hit()) } }
    })
  ] as const

const serve = Effect.gen(function* () {
  const store = yield* EventStore
  yield* store.append(Wall, wall, { expected: "NoStream", events: [Wall.Built()] })
  yield* store.append(Ball, ball, { expected: "NoStream", events: [Ball.Served()] })
})

const loopTests = (backend: Backend<Ports>): void => {
  const test = processTestsOn(backend)

  test("P4 P5 processes that react to each other settle, each event once and always in the same order", ({ one }) =>
    one(
      Effect.gen(function* () {
        yield* serve
        const [player, wall] = games(3)
        assert.strictEqual(yield* Process.settle([player, wall]), 7)
        const store = yield* EventStore
        const log = yield* Stream.runCollect(store.readAll([Ball, Wall]))
        assert.deepStrictEqual(
          log.map(({ event }) => event._tag),
          ["Built", "Served", "Touched", "Hit", "Touched", "Hit", "Touched", "Hit"]
        )
        assert.strictEqual(yield* Process.settle([player, wall]), 0)
      })
    ))

  test("P4 reactions without end stop the process with the chain of events that led there", ({ one }) =>
    one(
      Effect.gen(function* () {
        yield* serve
        const error = yield* Effect.flip(Process.settle(games(1000), { maxDepth: 20 }))
        assert.instanceOf(error, ProcessFailed)
        assert.instanceOf(error.cause, CausationTooDeep)
        assert.strictEqual(error.cause.depth, 21)
        const [first, second] = error.cause.chain
        assert.match(first ?? "", /^Ball\.Hit of stream "Ball-1" at position \d+$/)
        assert.match(second ?? "", /^Wall\.Touched of stream "Wall-1" at position \d+$/)
      })
    ))
}

/** Takes a coin for each order, and expects that there is one. */
const Billing = Process.make("billing", {
  follows: [Order],
  begin: "start",
  handlers: {
    Order: {
      Placed: ({ event }) => Process.execute(Purse, Purse.Id.make(event.customer), take(1)),
      ItemAdded: Process.ignore,
      Rejected: Process.ignore,
      Noted: Process.ignore
    }
  }
})

/** The same process, which handles the refusal. */
const BillingAgain = Process.make("billing", {
  follows: [Order],
  begin: "start",
  version: 2,
  handlers: {
    Order: {
      Placed: ({ aggregateId, event }) =>
        Process.whenRefused(Process.execute(Purse, Purse.Id.make(event.customer), take(1)), () =>
          Process.execute(Order, aggregateId, Order.Rejected())
        ),
      ItemAdded: Process.ignore,
      Rejected: Process.ignore,
      Noted: Process.ignore
    }
  }
})

const stoppingTests = (backend: Backend<Ports>): void => {
  const test = processTestsOn(backend)

  test("P6 P8 a refusal that nobody deals with stops it at that event, and a version that does resumes there", ({
    one
  }) =>
    one(
      Effect.gen(function* () {
        const purses = yield* Repository.of(Purse)
        yield* purses.execute(ada, Purse.Opened({ coins: 1 }))
        for (const n of [1, 2, 3]) yield* place(n)
        const runner = yield* Process.start(Billing, patient)
        const error = yield* Effect.flip(runner.join)
        const store = yield* EventStore
        const [, second] = (yield* Stream.runCollect(store.readAll([Order]))).filter(
          ({ event }) => event._tag === "Placed"
        )
        assert.instanceOf(error, ProcessFailed)
        assert.instanceOf(error.cause, TooFewCoins)
        const { eventId, position, process, stream, type, version } = error
        assert.deepStrictEqual(
          { process, eventId, stream, version, position, type },
          { process: "billing", eventId: second?.id, stream: "Order-2", version: 0, position: second?.position, type }
        )
        assert.strictEqual(type, "Order.Placed")
        for (const said of ["billing", "Order-2", `${second?.id}`, `${position}`]) assert.include(error.message, said)
        assert.strictEqual((yield* SubscriptionRef.get(runner.state))._tag, "Stopped")
        assert.strictEqual((yield* purses.get(ada)).state, 0)

        assert.strictEqual(yield* Process.settle([BillingAgain]), 2)
        const orders = yield* Repository.of(Order)
        const rejected = yield* Effect.forEach([1, 2, 3], (n) =>
          Effect.map(orders.get(orderId(n)), ({ state }) => state.rejected)
        )
        assert.deepStrictEqual(rejected, [false, true, true])
      })
    ))
}

const logTests = (backend: Backend<Ports>): void => {
  const test = processTestsOn(backend)

  for (const [what, noted] of [
    ["with another id", { logId: "another log" }],
    ["with another event at the position", { eventId: "another event" }]
  ] as const) {
    test(`P7 a log ${what} than the one that it has handled stops it, and nothing is recorded`, ({ one }) =>
      one(
        Effect.scoped(
          Effect.gen(function* () {
            yield* write(1, 1)
            yield* Process.settle([Shipping])
            const { append, progress } = yield* TrackedAppend
            const key = { projection: "shipping", version: 1, upstream: "log", slice: 0 }
            const before = yield* progress(key)
            const orders = yield* Repository.of(Order)
            yield* orders.execute(orderId(0), Order.Noted())
            const to = (yield* Effect.flatMap(EventStore, ({ head }) => head)) ?? fromStorage(0n)
            const { logId } = yield* LogReader
            yield* append([], { key, from: before?.position, to, note: { logId, eventId: undefined, ...noted } })
            yield* place(1)
            const error = yield* Effect.flip(Process.settle([Shipping]))
            assert.instanceOf(error, UpstreamChanged)
            for (const said of ['process "shipping"', `position ${to}`, ...Object.values(noted)]) {
              assert.include(error.message, said)
            }
            const runner = yield* Process.start(Shipping, patient)
            assert.instanceOf(yield* Effect.flip(runner.join), UpstreamChanged)
            const shipments = yield* Repository.of(Shipment)
            assert.isFalse(yield* shipments.exists(Shipment.Id.make("1")))
          })
        )
      ))
  }

  test("P7 what it has passed, and what it began after, does not make its own log another one", ({ one, other }) =>
    Effect.gen(function* () {
      yield* one(write(1, 2))
      const ending = shipping(1, "end")
      yield* one(Process.settle([ending]))
      const { progress } = yield* one(TrackedAppend)
      const key = { projection: "shipping", version: 1, upstream: "log", slice: 0 }
      assert.isDefined((yield* progress(key))?.note?.eventId)
      yield* other(place(1))
      assert.strictEqual(yield* other(Process.settle([ending])), 1)
    }))

  test("P7 a log that ends before its position is waited for", ({ one }) =>
    one(
      Effect.scoped(
        Effect.gen(function* () {
          const { append } = yield* TrackedAppend
          const { logId } = yield* LogReader
          const key = { projection: "shipping", version: 1, upstream: "log", slice: 0 }
          yield* append([], { key, from: undefined, to: fromStorage(2n ** 40n), note: { logId, eventId: undefined } })
          yield* place(1)
          const error = yield* Effect.flip(Process.settle([Shipping]))
          assert.instanceOf(error, RecorderUnavailable)
          assert.include(error.message, `${2n ** 40n}`)
          const runner = yield* Process.start(Shipping, patient)
          yield* until(runner, "Retrying")
        })
      )
    ))
}

/** The shipping process in a given version. */
const shipping = (version: number, begin: "start" | "end" = "start") =>
  Process.make("shipping", {
    follows: [Order],
    begin,
    version,
    handlers: {
      Order: {
        Placed: ({ aggregateId }) => Process.execute(Shipment, Shipment.Id.make(aggregateId), Shipment.Requested()),
        ItemAdded: ({ aggregateId, event }) =>
          Process.execute(Shipment, Shipment.Id.make(aggregateId), Shipment.ParcelAdded({ sku: event.sku })),
        Rejected: Process.ignore,
        Noted: Process.ignore
      }
    }
  })

const versionTests = (backend: Backend<Ports>): void => {
  const test = processTestsOn(backend)

  test("P8 a higher version continues where the lower one is, while that is working, and the lower one stops", ({
    one,
    other
  }) =>
    Effect.scoped(
      Effect.gen(function* () {
        const lower = yield* Effect.forkScoped(one(Effect.flip(Process.run(shipping(1), { ...patient, maxBatch: 2 }))))
        const writing = yield* Effect.forkScoped(other(write(8, 10)))
        yield* one(Process.wait(shipping(1), yield* one(write(1, 3, 100)), LONG))
        yield* Effect.forkScoped(other(Process.run(shipping(4), { ...patient, maxBatch: 2 })))
        const error = yield* Fiber.join(lower)
        assert.instanceOf(error, ProcessSuperseded)
        assert.deepStrictEqual([error.version, error.by], [1, 4])
        const position = yield* Fiber.join(writing)
        yield* one(Process.wait(shipping(1), position, LONG))
        yield* one(assertShipped)
        const late = yield* Effect.flip(one(Process.settle([shipping(3)])))
        assert.instanceOf(late, ProcessSuperseded)
        assert.deepStrictEqual([late.version, late.by], [3, 4])
      })
    ))

  test("P8 two runners that take over at once, interrupted at any moment, leave nothing out and do nothing twice", ({
    one,
    other
  }) =>
    Effect.gen(function* () {
      for (let version = 1; version <= 8; version++) {
        yield* one(write(1, 4, version))
        for (let round = 0; round < 4; round++) {
          const some = Effect.raceFirst(
            Process.settle([shipping(version)], { maxBatch: 1 }),
            Effect.repeat(Effect.yieldNow, { times: round * version * 3 })
          )
          yield* Effect.all([one(Effect.exit(some)), other(Effect.exit(some))], { concurrency: 2 })
        }
        if (version % 2 === 0) yield* other(Process.settle([shipping(version)]))
      }
      yield* one(Process.settle([shipping(9)]))
      yield* one(assertShipped)
    }))

  test("P8 what begins at the end leaves out what was there before, and nothing that comes after", ({ one, other }) =>
    Effect.gen(function* () {
      yield* one(write(1, 2))
      const ending = shipping(1, "end")
      // begun, and interrupted before there was anything to do
      const exit = yield* one(
        Effect.scoped(Effect.flatMap(Process.start(ending, patient), (runner) => Effect.exit(until(runner, "Live"))))
      )
      assert.isTrue(Exit.isSuccess(exit))
      yield* other(write(1, 3, 7))
      assert.strictEqual(yield* other(Process.settle([ending])), 4)
      const shipments = yield* one(Effect.flatMap(EventStore, (store) => Stream.runCollect(store.readAll([Shipment]))))
      assert.deepStrictEqual([...new Set(shipments.map(({ aggregateId }) => aggregateId))], [Shipment.Id.make("7")])
      // a position of its own would be a new beginning
      assert.strictEqual(yield* one(Process.settle([shipping(2, "start")])), 0)
    }))

  test("P8 what begins at the end of an empty log begins at its start", ({ one, other }) =>
    Effect.gen(function* () {
      const ending = shipping(1, "end")
      yield* one(Process.settle([ending]))
      yield* other(write(1, 3))
      assert.strictEqual(yield* other(Process.settle([ending])), 4)
      yield* one(assertShipped)
    }))
}
