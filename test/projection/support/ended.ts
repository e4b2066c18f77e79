/** A program as the guide writes it, that serves until it is ended by a signal. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { count, makeJournal } from "./journal.ts"
import type { Database } from "./places.ts"
import { logOf, viewsOf } from "./places.ts"

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
