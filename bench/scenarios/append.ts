import { Effect } from "effect"
import { FIRST } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { itemAt, Order } from "../order.ts"
import type { Scenario } from "./Scenario.ts"
import { commandsPerRound } from "./Scenario.ts"
import { writing } from "./writing.ts"

const BATCH = 100

/** The items of a batch, each for its version. */
const items = (first: number) => Array.from({ length: BATCH }, (_, n) => itemAt(first + n))

/** One command after another on one cached aggregate, a hundred events each; raw: transactions of a hundred rows. */
export const append100: Scenario = {
  name: "append-100",
  unit: "events/s",
  sides: (backend) =>
    Effect.sync(() => {
      const batches = Math.min(Math.max(Math.ceil(commandsPerRound(backend) / 20), 50), 400)
      return writing(backend, {
        orders: 1,
        count: batches * BATCH,
        ours: Effect.fnUntraced(function* (orders, ids) {
          for (let n = 0; n < batches; n++) {
            yield* orders.execute(
              ids[0] as OrderId,
              Order.decide(() => items(FIRST + n * BATCH).map((item) => Order.ItemAdded(item)))
            )
          }
        }),
        raw: (log, streams) => {
          for (let n = 0; n < batches; n++) {
            const first = FIRST + n * BATCH
            log.transaction(() => {
              items(first).forEach((item, i) => {
                log.insert(streams[0] as string, first + i, item)
              })
            })
          }
        }
      })
    })
}
