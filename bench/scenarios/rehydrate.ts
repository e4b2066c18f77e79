import { Effect } from "effect"
import { Repository } from "effect-eventsourcing"
import type { OrderId } from "../order.ts"
import { Order } from "../order.ts"
import { reading } from "./reading.ts"
import type { Scenario } from "./Scenario.ts"

/** Rebuilds an aggregate of 10,000 events that is not in the cache; raw: select them, parse them. */
export const rehydrate10000: Scenario = {
  name: "rehydrate-10000",
  unit: "events/s",
  sides: (backend) =>
    reading(backend, {
      orders: 1,
      eventsPerOrder: 10_000,
      times: 10,
      ours: ([id]) =>
        Effect.gen(function* () {
          const orders = yield* Repository.of(Order)
          return (yield* orders.get(id as OrderId)).version + 1
        }),
      raw: (log, [stream]) => log.readStream(stream as string)
    })
}
