import { randomUUID } from "node:crypto"
import type { Context } from "effect"
import { Effect } from "effect"
import type { Repository } from "effect-eventsourcing"
import type { Sides } from "../compare.ts"
import { comparisonOf, takeTurns } from "../compare.ts"
import { FIRST, openOrders } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { itemAt, Order } from "../order.ts"
import { addItem } from "../scenarios/writing.ts"
import { rate, timed } from "../timing.ts"
import type { Measured, ViewScenario } from "./Scenario.ts"
import type { InlineSite } from "./Site.ts"

const newOrders = (count: number): ReadonlyArray<OrderId> =>
  Array.from({ length: count }, () => Order.id(`order ${randomUUID()}`))

/** So many commands on each of some orders that are open and cached, those of different orders at once. */
const commands = (services: Context.Context<Repository.Repository>, orders: number, each: number) =>
  Effect.gen(function* () {
    const ids = newOrders(orders)
    const repository = yield* openOrders(ids)
    const lane = Effect.fnUntraced(function* (id: OrderId) {
      for (let n = 0; n < each; n++) yield* repository.execute(id, addItem(FIRST + n))
    })
    return yield* timed(orders * each, Effect.forEach(ids, lane, { concurrency: "unbounded", discard: true }))
  }).pipe(Effect.provide(services))

/** The event of each command and its count, in a transaction of the driver's. */
const raw = ({ record, without }: InlineSite, each: number) =>
  Effect.gen(function* () {
    const [id] = newOrders(1) as [OrderId]
    yield* Effect.provide(openOrders([id]), without)
    const stream = Order.stream(id)
    const all = Effect.gen(function* () {
      for (let n = 0; n < each; n++) yield* record(stream, FIRST + n, itemAt(FIRST + n))
    })
    return yield* timed(each, all)
  })

const FIBERS = 64

/**
 * What it costs to keep the counting view up inline: commands one after another and 64 at once, beside the same commands
 * on a log without it, and beside a driver that records the event and its count in a transaction.
 */
export const inline: ViewScenario = {
  name: "inline",
  measure: ({ awaited, name: place, newInlineSite }, rounds) =>
    Effect.gen(function* () {
      if (newInlineSite === undefined) return []
      const site = yield* newInlineSite
      const row = (name: string, comparison: Measured["comparison"]): Measured => ({
        name,
        unit: "commands/s",
        comparison
      })
      const one: Sides = {
        ours: commands(site.kept, 1, awaited),
        other: raw(site, awaited),
        third: commands(site.without, 1, awaited)
      }
      const turns = Math.ceil((awaited * 4) / FIBERS)
      const many: Sides = {
        ours: commands(site.kept, FIBERS, turns),
        other: commands(site.without, FIBERS, turns)
      }
      const sequential = yield* takeTurns(`${place} inline`, Effect.succeed(one), rounds)
      const concurrent = yield* takeTurns(`${place} inline-64`, Effect.succeed(many), rounds)
      return [
        row("inline", comparisonOf(sequential, rate)),
        row("inline, without", comparisonOf(sequential, rate, "third")),
        row("inline-64, without", comparisonOf(concurrent, rate))
      ]
    }).pipe(Effect.scoped)
}
