/** A program as in the guide, which serves until a signal ends it. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import type { Database } from "./databases.ts"
import { logOf, viewsOf } from "./databases.ts"
import { count, makeJournal } from "./journalView.ts"

const database = JSON.parse(process.argv[2] ?? "") as Database
const journal = makeJournal("tables")

const program = Effect.gen(function* () {
  yield* Projection.wait(journal, yield* count("before"))
  console.log("ready")
  yield* Effect.never
})

const Live = ProjectionRunner.layer(journal).pipe(
  Layer.provideMerge([logOf(database), viewsOf(database), MemoryViews()])
)
program.pipe(Effect.provide(Live), NodeRuntime.runMain({ disableErrorReporting: true }))
