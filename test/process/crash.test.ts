/**
 * Two programs that run one process are killed over and over in the middle of handling events.
 *
 * `CRASH_KILLS` sets the number of kills (default 5); `CRASH_SEED` repeats the choices of an earlier run.
 */
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { EventStore, Process } from "effect-eventsourcing"
import { newSchema, url } from "../postgres/support/database.ts"
import type { Database } from "../projection/support/databases.ts"
import { logOf } from "../projection/support/databases.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import * as Child from "../support/childProcess.ts"
import { random } from "../support/random.ts"
import type { Line, Options } from "./support/shippingRunner.ts"
import { Order, orderId, Shipment, Shipping } from "./support/shop.ts"

const kills = Number(process.env.CRASH_KILLS ?? 5)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

const logs: Readonly<Record<string, Effect.Effect<Database, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(Temporary.directory, (directory) => ({
    backend: "sqlite",
    filename: Path.join(directory, "log.db")
  })),
  PostgreSQL: Effect.map(newSchema, (schema) => ({ backend: "postgres", url: url(), schema }))
}

/** A runner in another process. */
interface Runner {
  readonly isUp: () => boolean
  readonly standbys: () => number
  /** The next time that it begins to handle an event. */
  readonly nextInHand: Effect.Effect<void>
  readonly untilUp: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
}

const startRunner = (options: Options): Effect.Effect<Runner, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Child.start("process/support/shippingRunner.ts", JSON.stringify(options))
    let [inHand, standbys, isUp] = [0, 0, false]
    let heard = Deferred.makeUnsafe<void>()
    const ended = Deferred.makeUnsafe<never>()
    const take = (line: Line) => {
      if (line._tag === "InHand") inHand++
      else if (line.state === "Standby") standbys++
      isUp ||= line._tag === "State" && line.state !== "Starting"
      const told = heard
      heard = Deferred.makeUnsafe()
      Deferred.doneUnsafe(told, Effect.void)
    }
    const reader = yield* child.line.pipe(
      Effect.flatMap((line) => Effect.sync(() => take(JSON.parse(line)))),
      Effect.forever,
      Effect.catchCause((cause) => Deferred.failCause(ended, cause)),
      Effect.forkScoped
    )
    const wait = (condition: () => boolean): Effect.Effect<void> =>
      Effect.suspend(() =>
        condition()
          ? Effect.void
          : Effect.flatMap(Effect.raceFirst(Deferred.await(heard), Deferred.await(ended)), () => wait(condition))
      )
    return {
      isUp: () => isUp,
      standbys: () => standbys,
      untilUp: wait(() => isUp),
      nextInHand: Effect.suspend(() => {
        const before = inHand
        return wait(() => inHand > before)
      }),
      kill: Effect.gen(function* () {
        // a runner that has ended on its own reports why
        if (Deferred.isDoneUnsafe(ended)) yield* Deferred.await(ended)
        assert.strictEqual(yield* child.kill, "SIGKILL")
        yield* Fiber.await(reader)
      })
    }
  })

/** Places orders and adds items until it is stopped; some events have no handler. */
const writing = (next: () => number, isOver: () => boolean) =>
  Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    const versions: Array<number> = []
    while (!isOver()) {
      const n = Math.floor(next() * (versions.length + 1))
      const version = versions[n]
      const event =
        version === undefined
          ? Order.Placed({ customer: "ada" })
          : next() < 0.1
            ? Order.Noted()
            : Order.ItemAdded({ sku: `${version}` })
      const expected = version ?? "NoStream"
      yield* store.append(Order, orderId(n), { expected, events: [event] })
      versions[n] = (version ?? -1) + 1
      yield* Effect.sleep(next() * 20)
    }
  })

/** How many events had more than one effect, none, or theirs in the wrong order. */
const count = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const causes = new Map<string, Array<string>>()
  const results = new Map<string, Array<string>>()
  let handled = 0
  const all = yield* Stream.runCollect(store.readAll([Order, Shipment]))
  for (const { aggregate, aggregateId, event, id, metadata } of all) {
    if (aggregate === "Shipment") {
      results.set(aggregateId, [...(results.get(aggregateId) ?? []), metadata.causationId ?? ""])
    } else if (event._tag === "Placed" || event._tag === "ItemAdded") {
      handled++
      causes.set(aggregateId, [...(causes.get(aggregateId) ?? []), id])
    }
  }
  let [doubled, missing, outOfOrder] = [0, 0, 0]
  for (const [id, expected] of causes) {
    const found = results.get(id) ?? []
    const distinct = [...new Set(found)]
    doubled += found.length - distinct.length
    missing += expected.filter((cause) => !distinct.includes(cause)).length
    const present = expected.filter((cause) => distinct.includes(cause))
    outOfOrder += distinct.filter((cause, n) => present[n] !== cause).length
  }
  return { handled, doubled, missing, outOfOrder }
})

describe.each(Object.entries(logs))("a process whose program is killed: %s", (name, makeLog) => {
  it.live(`P1 with events in hand, beside another: each event takes effect once (${kills} kills)`, () =>
    Effect.gen(function* () {
      console.log(`CRASH_SEED=${seed}`)
      const log = yield* makeLog
      const next = random(seed)
      const start = Effect.suspend(() => startRunner({ log, maxBatch: 1 + Math.floor(next() * 16) }))
      const program = Effect.gen(function* () {
        // the log is created before others open it
        yield* Process.position(Shipping)
        const runners: [Runner, Runner] = [yield* start, yield* start]
        let isOver = false
        const writer = yield* Effect.forkScoped(writing(random(seed + 1), () => isOver))
        let standbys = 0
        for (let kill = 1; kill <= kills; kill++) {
          for (const { untilUp } of runners) yield* untilUp
          let victim = Math.floor(next() * 2)
          const inHand = yield* Effect.raceFirst(
            Effect.as(runners[0].nextInHand, 0),
            Effect.as(runners[1].nextInHand, 1)
          )
          // every fifth one is killed whatever it is doing
          if (kill % 5 !== 0) victim = inHand
          yield* Effect.sleep(next() * 6)
          const killed = runners[victim] as Runner
          yield* killed.kill
          standbys += killed.standbys()
          runners[victim] = yield* start
        }
        isOver = true
        yield* Fiber.join(writer)
        const { head } = yield* EventStore.EventStore
        yield* Process.wait(Shipping, yield* head, { timeout: "10 minutes" })
        for (const runner of runners) {
          yield* runner.kill
          standbys += runner.standbys()
        }
        const { handled, ...wrong } = yield* count
        console.log(`${name}: ${kills} kills, ${handled} events, ${standbys} times stood by, ${JSON.stringify(wrong)}`)
        assert.deepStrictEqual(wrong, { doubled: 0, missing: 0, outOfOrder: 0 }, `with CRASH_SEED=${seed}`)
        assert.isAbove(handled, kills)
      })
      yield* Effect.scoped(program).pipe(Effect.provide(logOf(log)))
    })
  )
})
