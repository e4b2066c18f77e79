/** Emmett's in-memory event store beside this library's, in one process and run. See README.md. */
import { readFileSync } from "node:fs"
import * as Path from "node:path"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { compare } from "../compare.ts"
import { machine } from "../machine.ts"
import { done } from "../progress.ts"
import type { Row } from "../report.ts"
import { report } from "../report.ts"
import { verdict } from "../targets.ts"
import { SEQUENTIAL, scenarios } from "./scenarios.ts"

/** What sequential commands should reach of Emmett's, which encodes nothing. */
const AIM = 0.5

const emmett = JSON.parse(
  readFileSync(Path.join(import.meta.dirname, "node_modules/@event-driven-io/emmett/package.json"), "utf8")
)

const main = Effect.gen(function* () {
  for (const line of machine()) yield* Console.log(line)
  yield* Console.log(`Peers     Emmett ${emmett.version}, its in-memory event store`)
  const rows: Array<Row> = []
  for (const { name, sides, unit } of scenarios) {
    const comparison = yield* compare(name, sides, { rounds: 11, seconds: 22 })
    rows.push({ ...comparison, name, unit, verdict: name === SEQUENTIAL ? verdict(comparison.ratio, AIM) : "" })
  }
  yield* done
  yield* Console.log(`\n${report("Emmett", rows)}`)
})

NodeRuntime.runMain(main)
