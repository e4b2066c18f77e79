import { Effect } from "effect"
import type { Backend } from "../backends/Backend.ts"
import type { Sides } from "../compare.ts"
import { FIRST } from "../fill.ts"
import { itemAt } from "../order.ts"
import type { RawLog } from "../raw/RawLog.ts"
import type { Scenario } from "./Scenario.ts"
import { commandsPerRound } from "./Scenario.ts"
import { addItem, writing } from "./writing.ts"

const FIBERS = 64

/** Fewer turns would leave out what it costs to move a full write-ahead log into the database. */
const LEAST = 100

/** 64 fibers, each with an aggregate of its own and one command after another; `raw` gets one turn of all 64 at a time. */
const concurrent = (
  backend: Backend,
  turns: number,
  raw: (log: RawLog, insert: (fiber: number) => void) => void
): Sides =>
  writing(backend, {
    orders: FIBERS,
    count: turns * FIBERS,
    ours: (orders, ids) =>
      Effect.forEach(
        ids,
        Effect.fnUntraced(function* (id) {
          for (let turn = 0; turn < turns; turn++) yield* orders.execute(id, addItem(FIRST + turn))
        }),
        { concurrency: "unbounded", discard: true }
      ),
    raw: (log, streams) => {
      for (let turn = 0; turn < turns; turn++) {
        const version = FIRST + turn
        raw(log, (fiber) => log.insert(streams[fiber] as string, version, itemAt(version)))
      }
    }
  })

/** Against transactions of one row, which is what 64 callers get who don't know of each other. */
export const concurrent64: Scenario = {
  name: "concurrent-64",
  unit: "commands/s",
  sides: (backend) =>
    Effect.sync(() =>
      concurrent(backend, Math.ceil(commandsPerRound(backend) / FIBERS), (log, insert) => {
        for (let fiber = 0; fiber < FIBERS; fiber++) log.transaction(() => insert(fiber))
      })
    )
}

/** Against transactions of 64 rows, which is the best that they could get. */
export const concurrent64Batched: Scenario = {
  name: "concurrent-64-batched",
  unit: "commands/s",
  sides: (backend) =>
    Effect.sync(() =>
      concurrent(backend, Math.max(Math.ceil(commandsPerRound(backend) / FIBERS), LEAST), (log, insert) => {
        log.transaction(() => {
          for (let fiber = 0; fiber < FIBERS; fiber++) insert(fiber)
        })
      })
    )
}
