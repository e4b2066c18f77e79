import { Effect } from "effect"
import { FIRST } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { itemAt } from "../order.ts"
import type { Scenario } from "./Scenario.ts"
import { commandsPerRound } from "./Scenario.ts"
import { addItem, writing } from "./writing.ts"

/** One command after another on one cached aggregate, an event each; raw: transactions of one row. */
export const sequential: Scenario = {
  name: "sequential",
  unit: "commands/s",
  sides: (backend) =>
    Effect.sync(() => {
      const count = commandsPerRound(backend)
      return writing(backend, {
        orders: 1,
        count,
        ours: Effect.fnUntraced(function* (orders, ids) {
          for (let n = 0; n < count; n++) yield* orders.execute(ids[0] as OrderId, addItem(FIRST + n))
        }),
        raw: (log, streams) => {
          for (let n = 0; n < count; n++) {
            log.transaction(() => log.insert(streams[0] as string, FIRST + n, itemAt(FIRST + n)))
          }
        }
      })
    })
}
