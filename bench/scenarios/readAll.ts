import { Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { Order } from "../order.ts"
import { reading } from "./reading.ts"
import type { Scenario } from "./Scenario.ts"

/** Reads a log of 200,000 events to its end, decoded; raw: select them, parse them. */
export const readAll: Scenario = {
  name: "read-all",
  unit: "events/s",
  sides: (backend) =>
    reading(backend, {
      orders: 100,
      eventsPerOrder: 2000,
      times: 1,
      ours: () =>
        Effect.gen(function* () {
          const store = yield* EventStore.EventStore
          let count = 0
          yield* Stream.runForEachArray(store.readAll([Order]), (events) =>
            Effect.sync(() => {
              count += events.length
            })
          )
          return count
        }),
      raw: (log) => log.readAll()
    })
}
