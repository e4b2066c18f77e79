/** The benchmark's scenarios for both in memory. */
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { MemoryLayer } from "../../src/memory/index.ts"
import type { Sides } from "../compare.ts"
import { fill } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { Order, orderIds } from "../order.ts"
import { timed } from "../timing.ts"
import * as Emmett from "./emmett.ts"
import * as Ours from "./ours.ts"

export interface Scenario {
  readonly name: string
  readonly unit: string
  readonly sides: Effect.Effect<Sides, unknown, Scope.Scope>
}

/**
 * Commands on orders of which `together` are worked on at once, and then the next so many, until a round is full.
 *
 * Emmett's store copies a stream with each append to it and counts its streams with each event, so it is kindest to it
 * to begin a new store each time, with short streams. Ours continues with the same log.
 */
const commanding = (scenario: {
  readonly name: string
  readonly unit: string
  readonly together: number
  readonly commands: number
  readonly events: number
  readonly times: number
}): Scenario => {
  const { commands, events, name, times, together, unit } = scenario
  const count = times * together * commands * events
  const ids = orderIds(times * together)
  const groups = Array.from({ length: times }, (_, time) => ids.slice(time * together, (time + 1) * together))
  return {
    name,
    unit,
    sides: Effect.succeed({
      ours: Ours.open(ids).pipe(
        Effect.flatMap((orders) =>
          timed(
            count,
            Effect.forEach(
              groups,
              (group) =>
                Effect.forEach(group, (id) => Ours.commands(orders, id, commands, events), {
                  concurrency: "unbounded",
                  discard: true
                }),
              { discard: true }
            )
          )
        ),
        Effect.provide(MemoryLayer({ cacheCapacity: ids.length }))
      ),
      other: Effect.gen(function* () {
        const stores = yield* Effect.promise(() => Promise.all(groups.map(Emmett.open)))
        return yield* timed(
          count,
          Effect.promise(async () => {
            for (const [time, store] of stores.entries()) {
              const group = groups[time] as ReadonlyArray<OrderId>
              await Promise.all(group.map((id) => Emmett.commands(store, id, commands, events)))
            }
          })
        )
      })
    })
  }
}

const EVENTS = 10_000
const TIMES = 20

/** Reading one order of 10,000 events, again and again. */
const reading = (
  name: string,
  ours: typeof Ours.rehydrate | typeof Ours.read,
  emmett: (store: Emmett.Store, stream: string) => Promise<number>
): Scenario => ({
  name,
  unit: "events/s",
  sides: Effect.gen(function* () {
    const id = Order.id("an order")
    const services = yield* Layer.build(MemoryLayer({ cacheCapacity: 0 }))
    const orders = yield* Effect.provide(Effect.andThen(fill([id], EVENTS), Ours.open([])), services)
    const store = yield* Effect.promise(() => Emmett.filled(id, EVENTS))
    const repeatedly = (read: Effect.Effect<number, unknown>) =>
      timed(
        EVENTS * TIMES,
        Effect.gen(function* () {
          for (let time = 0; time < TIMES; time++) {
            const found = yield* read
            if (found !== EVENTS) return yield* Effect.die(new Error(`${name}: read ${found} events of ${EVENTS}`))
          }
        })
      )
    return {
      ours: repeatedly(ours(orders, id)),
      other: repeatedly(Effect.promise(() => emmett(store, id)))
    }
  })
})

const command = { unit: "commands/s", events: 1 } as const

/** The row that the project's target is about. */
export const SEQUENTIAL = "sequential"

export const scenarios: ReadonlyArray<Scenario> = [
  commanding({ ...command, name: SEQUENTIAL, together: 1, commands: 100, times: 200 }),
  commanding({ ...command, name: "sequential, 1,000 events", together: 1, commands: 1000, times: 20 }),
  commanding({ ...command, name: "concurrent-64", together: 64, commands: 50, times: 6 }),
  commanding({ name: "append-100", unit: "events/s", together: 1, commands: 5, events: 100, times: 100 }),
  reading("rehydrate-10000", Ours.rehydrate, Emmett.rehydrate),
  reading("read", Ours.read, Emmett.read)
]
