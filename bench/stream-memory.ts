/**
 * Streams a log of a million events and looks at the heap on the way: it has to stay near where it began.
 *
 * `npm run bench -- --memory`
 */
import { Console, Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { sqlite } from "./backends/sqlite.ts"
import { inspect } from "./disk.ts"
import { FIRST, openOrders } from "./fill.ts"
import { itemAt, Order, orderIds } from "./order.ts"
import { done, progress } from "./progress.ts"
import { table } from "./report.ts"
import { collectGarbage } from "./timing.ts"

const EVENTS = 1_000_000
const ORDERS = 1000
const LIMIT = 64

/** Every so many events the garbage is collected and the heap is measured. */
const STEP = 50_000

const heap = Effect.map(collectGarbage, () => process.memoryUsage().heapUsed / 2 ** 20)

export const streamMemory = (folder: string): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const disk = yield* inspect(folder)
    const log = yield* sqlite(disk.folder, 0).newLog
    const ids = orderIds(ORDERS)
    yield* progress(`recording ${EVENTS.toLocaleString("en-US")} events`)
    yield* Effect.scoped(
      Effect.gen(function* () {
        const raw = yield* Effect.andThen(openOrders(ids), log.raw).pipe(Effect.provide(log.layer()))
        const streams = ids.map(Order.stream)
        for (let version = FIRST; version < EVENTS / ORDERS; version++) {
          raw.transaction(() => {
            for (const stream of streams) raw.insert(stream, version, itemAt(version))
          })
        }
      })
    )
    yield* Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const began = yield* heap
      const rows: Array<ReadonlyArray<string>> = []
      let most = 0
      let count = 0
      yield* Stream.runForEachArray(store.readAll([Order]), (events) => {
        const step = Math.floor(count / STEP)
        count += events.length
        if (Math.floor(count / STEP) === step) return Effect.void
        return Effect.flatMap(heap, (now) => {
          most = Math.max(most, now - began)
          rows.push([count.toLocaleString("en-US"), now.toFixed(1), (now - began).toFixed(1), ""])
          return progress("streaming", count.toLocaleString("en-US"))
        })
      })
      yield* done
      if (count !== EVENTS) return yield* Effect.die(new Error(`streamed ${count} events of ${EVENTS}`))
      yield* Console.log(`Heap after a collection, in MiB; it began at ${began.toFixed(1)}\n`)
      yield* Console.log(table(["events", "heap", "growth", ""], rows))
      yield* Console.log(
        `\nGrew by at most ${most.toFixed(1)} MiB; target ≤ ${LIMIT}: ${most <= LIMIT ? "met" : "NOT MET"}`
      )
    }).pipe(Effect.provide(log.layer()))
  }).pipe(Effect.scoped)
