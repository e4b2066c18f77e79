/** What a runner reports and does, on the memory backend. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Schema, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import type { EventSourcing } from "effect-eventsourcing"
import {
  Aggregate,
  EventSourcingError,
  EventStore,
  Evolution,
  LogReader,
  Position,
  Process,
  Repository,
  SnapshotStore,
  TrackedAppend
} from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { Order, orderId, Purse, Shipment, Shipping, shipmentOf, take } from "./support/shop.ts"

const place = (n: number) =>
  Effect.flatMap(Repository.of(Order), (orders) =>
    Effect.map(orders.execute(orderId(n), Order.Placed({ customer: "ada" })), ({ position }) => position)
  )

const until = <E>(runner: Process.Runner<E>, tag: Process.State["_tag"]) =>
  SubscriptionRef.changes(runner.state).pipe(
    Stream.takeUntil(({ _tag }) => _tag === tag),
    Stream.runDrain
  )

const ignored = { ItemAdded: Process.ignore, Rejected: Process.ignore, Noted: Process.ignore } as const

const reacting = <R extends Process.Reactions<unknown>>(name: string, placed: () => R) =>
  Process.make(name, { follows: [Order], begin: "start", handlers: { Order: { Placed: placed, ...ignored } } })

const onMemory = <A, E, R>(self: Effect.Effect<A, E, R>, options: EventSourcing.Options = {}) =>
  Effect.provide(self, MemoryLayer(options))

describe("a runner", () => {
  it.effect("G12 shows that it is live, and at which position", () =>
    onMemory(
      Effect.gen(function* () {
        const position = yield* place(1)
        const runner = yield* Process.start(Shipping)
        yield* Process.wait(Shipping, position)
        yield* until(runner, "Live")
        yield* Process.wait(Shipping, yield* place(2))
        const shipments = yield* Repository.of(Shipment)
        assert.isTrue(yield* shipments.exists(shipmentOf(orderId(2))))
      })
    )
  )

  it.effect("G12 P6 says what was thrown in a handler, and where, and stops", () =>
    onMemory(
      Effect.gen(function* () {
        yield* place(1)
        const runner = yield* Process.start(
          reacting("throwing", () => {
            throw new Error("out of paper")
          })
        )
        const exit = yield* Effect.exit(runner.join)
        assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
        const state = yield* SubscriptionRef.get(runner.state)
        assert.strictEqual(state._tag, "Stopped")
        if (state._tag !== "Stopped" || state.error === "interrupted") return
        for (const said of ["throwing", "Order-1", "out of paper"]) assert.include(state.error.message, said)
      })
    )
  )

  it.effect("P6 says what to return instead of an event or a promise", () =>
    onMemory(
      Effect.gen(function* () {
        yield* place(1)
        const wrong: ReadonlyArray<readonly [unknown, string]> = [
          [Purse.Put({ coins: 1 }), "Process.execute(...)"],
          [Promise.resolve(), "Effect.promise(...)"]
        ]
        for (const [result, said] of wrong) {
          const process = reacting("wrong", () => result as undefined)
          const exit = yield* Effect.exit(Process.settle([process]))
          assert.include(String(exit), said)
          assert.include(String(exit), "the handler of Order.Placed")
        }
      })
    )
  )

  it.effect("G8 P6 stops at an event of a type that it does not know, after those before it", () =>
    onMemory(
      Effect.gen(function* () {
        const Newer = Aggregate.make("Order", {
          state: Schema.Int,
          creation: { Placed: { customer: Schema.String } },
          events: { Gifted: {} },
          reduce: { Placed: () => 0, Gifted: (order) => order }
        })
        const store = yield* EventStore.EventStore
        yield* place(1)
        yield* store.append(Newer, Newer.Id.make("1"), { expected: 0, events: [Newer.Gifted()] })
        yield* place(2)
        const error = yield* Effect.flip(Process.settle([Shipping]))
        assert.instanceOf(error, EventSourcingError.ProcessFailed)
        assert.instanceOf(error.cause, EventSourcingError.UnknownEventType)
        assert.deepStrictEqual([error.stream, error.version, error.type], ["Order-1", 1, "Order.Gifted"])
        const shipments = yield* Repository.of(Shipment)
        const exist = yield* Effect.forEach([1, 2], (n) => shipments.exists(shipmentOf(orderId(n))))
        assert.deepStrictEqual(exist, [true, false])
      })
    )
  )

  for (const what of ["type", "schema version"] as const) {
    it.effect(`G8 G12 waits at an event of a ${what} that only a newer program knows, which then handles it`, () =>
      onMemory(
        Effect.gen(function* () {
          const Newer = Aggregate.make("Order", {
            state: Schema.Int,
            creation: { Placed: { customer: Schema.String } },
            events: {
              Gifted: {},
              ItemAdded: Evolution.version(1, { sku: Schema.String }).version(2, { sku: Schema.String }, (old) => old)
            },
            reduce: { Placed: () => 0, Gifted: (order) => order, ItemAdded: (order) => order }
          })
          const store = yield* EventStore.EventStore
          yield* place(1)
          const [runner, position] = [yield* Process.start(Shipping), yield* place(2)]
          yield* Process.wait(Shipping, position)
          const events = what === "type" ? ([Newer.Gifted()] as const) : ([Newer.ItemAdded({ sku: "pen" })] as const)
          const recorded = yield* store.append(Newer, Newer.Id.make("1"), { expected: 0, events })
          yield* place(3)
          yield* Effect.raceFirst(until(runner, "Blocked"), runner.join)
          yield* TestClock.adjust("1 minute")
          const blocked = yield* SubscriptionRef.get(runner.state)
          assert.strictEqual(blocked._tag === "Blocked" && blocked.event.position, recorded?.position)
          const shipments = yield* Repository.of(Shipment)
          assert.isFalse(yield* shipments.exists(shipmentOf(orderId(3))))

          const newer = Process.make("shipping", {
            follows: [Newer],
            begin: "start",
            handlers: { Order: { Placed: Process.ignore, ItemAdded: () => undefined, Gifted: () => undefined } }
          })
          // the newer program handles that event only
          assert.strictEqual(yield* Process.settle([newer]), 1)
          yield* TestClock.adjust("5 seconds")
          yield* Process.wait(Shipping, yield* place(4))
          assert.isTrue(yield* shipments.exists(shipmentOf(orderId(4))))
          yield* until(runner, "Live")
        })
      )
    )
  }

  it.effect("G8 P6 stops at an event whose result can't be encoded", () =>
    onMemory(
      Effect.gen(function* () {
        yield* place(1)
        const opening = reacting("opening", () =>
          Process.execute(
            Purse,
            Purse.Id.make("1"),
            Purse.create(() => ({ _tag: "Opened", coins: 1.5 }) as const)
          )
        )
        const error = yield* Effect.flip(Process.settle([opening]))
        assert.instanceOf(error, EventSourcingError.ProcessFailed)
        assert.instanceOf(error.cause, EventSourcingError.EventNotEncodable)
      })
    )
  )

  it.effect("P7 compares a log that was behind once it has reached the position, and stops if it is another one", () =>
    onMemory(
      Effect.gen(function* () {
        const { append } = yield* TrackedAppend.TrackedAppend
        const { logId } = yield* LogReader.LogReader
        const key = { projection: "shipping", version: 1, upstream: "log", slice: 0 }
        const to = Position.fromStorage(((yield* place(1)) ?? 0n) + 1n)
        yield* append([], { key, from: undefined, to, note: { logId, eventId: "lost" } })
        const runner = yield* Process.start(Shipping)
        yield* until(runner, "Retrying")
        yield* place(2)
        const stopped = yield* Effect.forkChild(Effect.flip(runner.join))
        yield* TestClock.adjust("5 seconds")
        assert.instanceOf(yield* Fiber.join(stopped), EventSourcingError.UpstreamChanged)
      })
    )
  )

  it.effect("P1 a lookup that can't reach its service is tried again, and shows it", () =>
    onMemory(
      Effect.gen(function* () {
        const position = yield* place(1)
        let calls = 0
        const away = new EventSourcingError.RecorderUnavailable({ operation: "look up", reason: "it is away" })
        const looking = Process.make("looking", {
          follows: [Order],
          begin: "start",
          handlers: {
            Order: {
              ...ignored,
              Placed: ({ aggregateId }) =>
                Effect.suspend(() =>
                  ++calls < 3
                    ? Effect.fail(away)
                    : Effect.succeed(Process.execute(Shipment, shipmentOf(aggregateId), Shipment.Requested()))
                )
            }
          }
        })
        const runner = yield* Process.start(looking)
        const waiting = yield* Effect.forkChild(Process.wait(looking, position))
        yield* until(runner, "Retrying")
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(waiting)
        assert.strictEqual(calls, 3)
      })
    )
  )

  it.effect("P2 a decision that creates nothing where nothing is, is refused as execute refuses it", () =>
    onMemory(
      Effect.gen(function* () {
        yield* place(1)
        const nothing = Process.execute(
          Purse,
          Purse.Id.make("1"),
          Purse.createOrDecide(() => [])
        )
        const error = yield* Effect.flip(Process.settle([reacting("nothing", () => nothing)]))
        assert.instanceOf(error, EventSourcingError.ProcessFailed)
        assert.instanceOf(error.cause, EventSourcingError.AggregateNotFound)
        const optional = Process.whenRefused(nothing, "AggregateNotFound", () => undefined)
        assert.strictEqual(yield* Process.settle([reacting("nothing", () => optional)]), 1)
      })
    )
  )

  it.effect.each([
    ["of the aggregate", { snapshotEvery: 3 }, {}],
    ["of the layer", {}, { snapshotEvery: 3 }]
  ] as const)("saves the snapshots that are due by the interval %s", ([, interval, options]) =>
    onMemory(
      Effect.gen(function* () {
        const Tally = Aggregate.make("Tally", {
          state: Schema.Int,
          creation: { Begun: {} },
          events: { Counted: {} },
          reduce: { Begun: () => 0, Counted: (count) => count + 1 },
          ...interval
        })
        const counting = reacting("counting", () =>
          Process.execute(
            Tally,
            Tally.Id.make("1"),
            Tally.createOrDecide((count) => (count === undefined ? Tally.Begun() : Tally.Counted()))
          )
        )
        for (let n = 0; n < 4; n++) yield* place(n)
        yield* Process.settle([counting])
        const snapshots = yield* Effect.flatMap(SnapshotStore.SnapshotStore, (store) =>
          store.load(Tally, Tally.Id.make("1"))
        )
        assert.isAtLeast(snapshots?.version ?? -1, 2)
      }),
      options
    )
  )

  it.effect("options that make no sense are refused", () =>
    onMemory(
      Effect.gen(function* () {
        for (const [options, said] of [
          [{ maxBatch: 0 }, "maxBatch"],
          [{ maxDepth: 0 }, "maxDepth"],
          [{ patience: "1 millis" }, "patience"]
        ] as const) {
          const error = yield* Effect.flip(Process.run(Shipping, options))
          assert.instanceOf(error, EventSourcingError.RecorderFailure)
          assert.include(error.message, said)
        }
      })
    )
  )
})

describe("several runners", () => {
  it.effect("one stands by until events have waited for the patience of it, and then takes over", () =>
    onMemory(
      Effect.gen(function* () {
        const [asked, answered] = [yield* Latch.make(), yield* Latch.make()]
        // the first one gets stuck at the second order
        const stuck = Process.make("shipping", {
          follows: [Order],
          begin: "start",
          handlers: {
            Order: {
              ...ignored,
              Placed: ({ aggregateId }) => {
                const reaction = Process.execute(Shipment, shipmentOf(aggregateId), Shipment.Requested())
                return aggregateId === orderId(2)
                  ? Effect.as(Effect.andThen(asked.open, answered.await), reaction)
                  : reaction
              }
            }
          }
        })
        const first = yield* Process.start(stuck)
        yield* until(first, "Live")
        const second = yield* Process.start(Shipping)
        yield* until(second, "Live")
        yield* Process.wait(Shipping, yield* place(1))
        // the runner that was second to record the first order stands by; it may be either
        yield* Effect.raceFirst(until(second, "Standby"), until(first, "Standby"))
        const position = yield* place(2)
        const waiting = yield* Effect.forkChild(Process.wait(Shipping, position, { timeout: "1 minute" }))
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(waiting)
        const tags = [(yield* SubscriptionRef.get(first.state))._tag, (yield* SubscriptionRef.get(second.state))._tag]
        assert.notInclude(tags, "Stopped")
        yield* answered.open
      })
    )
  )

  it.effect("one that stands by stays there while there is nothing to do", () =>
    onMemory(
      Effect.gen(function* () {
        const runners = [yield* Process.start(Shipping), yield* Process.start(Shipping)]
        for (const runner of runners) yield* until(runner, "Live")
        yield* Process.wait(Shipping, yield* place(1))
        yield* Effect.raceAll(runners.map((runner) => until(runner, "Standby")))
        yield* TestClock.adjust("1 minute")
        const states = yield* Effect.forEach(runners, ({ state }) => SubscriptionRef.get(state))
        assert.deepStrictEqual(states.map(({ _tag }) => _tag).sort(), ["Live", "Standby"])
        // and events that the other runner handles in time do not wake it
        yield* Process.wait(Shipping, yield* place(2))
        yield* TestClock.adjust("1 minute")
        const later = yield* Effect.forEach(runners, ({ state }) => SubscriptionRef.get(state))
        assert.deepStrictEqual(
          later.map(({ _tag }) => _tag),
          states.map(({ _tag }) => _tag)
        )
      })
    )
  )
})

describe("wait", () => {
  it.effect("does not wait for events that have no handler", () =>
    onMemory(
      Effect.gen(function* () {
        const orders = yield* Repository.of(Order)
        yield* place(1)
        yield* Process.settle([Shipping])
        const { position } = yield* orders.execute(orderId(1), Order.Noted())
        yield* Process.wait(Shipping, position)
        yield* Process.wait(Shipping, undefined)
      })
    )
  )

  it.effect("fails with how far the process is, and why its runner has stopped", () =>
    onMemory(
      Effect.gen(function* () {
        const position = yield* place(1)
        const waiting = yield* Effect.forkChild(Effect.flip(Process.wait(Shipping, position)))
        yield* TestClock.adjust("5 seconds")
        const error = yield* Fiber.join(waiting)
        assert.instanceOf(error, EventSourcingError.ProcessBehind)
        assert.deepStrictEqual([error.position, error.reached, error.stopped], [position, undefined, undefined])

        const billing = reacting("billing", () => Process.execute(Purse, Purse.Id.make("1"), take(1)))
        yield* Effect.exit(Process.run(billing))
        const again = yield* Effect.forkChild(Effect.flip(Process.wait(billing, position)))
        yield* TestClock.adjust("1 second")
        const { message } = yield* Fiber.join(again)
        assert.include(message, 'there is no Purse "1"')
      })
    )
  )
})

describe("position", () => {
  it.effect("is moved past events without a handler, so that a restart does not read them again", () =>
    onMemory(
      Effect.gen(function* () {
        const orders = yield* Repository.of(Order)
        yield* place(1)
        yield* Effect.forkScoped(Process.run(Shipping))
        const { position } = yield* orders.execute(orderId(1), Order.Noted())
        yield* Process.wait(Shipping, position)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(
          yield* Process.position(Shipping),
          yield* Effect.flatMap(EventStore.EventStore, (_) => _.head)
        )
      })
    )
  )
})

describe("layer", () => {
  it.effect("runs the process for as long as it is open", () =>
    Effect.gen(function* () {
      const position = yield* place(1)
      yield* Process.wait(Shipping, position)
    }).pipe(Effect.provide(Process.layer(Shipping).pipe(Layer.provideMerge(MemoryLayer()))))
  )
})
