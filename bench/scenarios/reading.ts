import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import type { Recorder } from "effect-eventsourcing"
import type { Backend, Services } from "../backends/Backend.ts"
import type { Sides } from "../compare.ts"
import { fill } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { Order, orderIds } from "../order.ts"
import type { RawLog } from "../raw/RawLog.ts"
import { timed } from "../timing.ts"

/** Both sides of a scenario that reads: all rounds read one log, without a cache. */
export const reading = Effect.fnUntraced(function* (
  backend: Backend,
  scenario: {
    readonly orders: number
    readonly eventsPerOrder: number
    /** How often a round reads it. */
    readonly times: number
    /** Reads it once; answers how many events there were. */
    readonly ours: (ids: ReadonlyArray<OrderId>) => Effect.Effect<number, unknown, Services>
    readonly raw: (log: RawLog, streams: ReadonlyArray<string>) => number
  }
): Effect.fn.Return<Sides, unknown, Scope.Scope> {
  const ids = orderIds(scenario.orders)
  const streams = ids.map(Order.stream)
  const log = yield* backend.newLog
  const services = yield* Layer.build(log.layer({ cacheCapacity: 0 }))
  yield* Effect.provide(fill(ids, scenario.eventsPerOrder), services)
  const raw = yield* Effect.provideContext(log.raw as Effect.Effect<RawLog, unknown, Recorder.Recorder>, services)

  const events = scenario.orders * scenario.eventsPerOrder
  const repeatedly = <R>(read: Effect.Effect<number, unknown, R>) =>
    timed(
      events * scenario.times,
      Effect.gen(function* () {
        for (let time = 0; time < scenario.times; time++) {
          const found = yield* read
          if (found !== events) return yield* Effect.die(new Error(`read ${found} events of ${events}`))
        }
      })
    )
  return {
    ours: Effect.provide(repeatedly(scenario.ours(ids)), services),
    other: repeatedly(Effect.sync(() => scenario.raw(raw, streams)))
  }
})
