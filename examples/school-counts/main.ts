/**
 * Counts the dogs and tricks of the training school, in a view that is kept up with its events: `npm run example:school-counts`,
 * on the log of `npm start`, whose dogs are counted too.
 *
 * By default log and view are in one SQLite file (`--file PATH`). With `--postgres URL` both are in a PostgreSQL database. With
 * `--kurrent URL` or `KURRENTDB_URI` the log is on a KurrentDB server, and the view in the SQLite file, or in the database that
 * `--postgres` names.
 *
 * It registers a dog and teaches it tricks, waits for the view to have seen each of these commands, and asks it. In the middle
 * the runner of the projection is gone for a while: the next one goes on where it was.
 */
import { parseArgs } from "node:util"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Stream } from "effect"
import type { Position } from "effect-eventsourcing"
import { EventStore, Projection, ProjectionRunner } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { Dog } from "../training-school/Dog.ts"
import { makeTrainingSchool } from "../training-school/TrainingSchool.ts"
import { Counts, readCounts } from "./Counts.ts"

const { values } = parseArgs({
  options: { file: { type: "string" }, postgres: { type: "string" }, kurrent: { type: "string" } }
})
const { file = "training-school.db", postgres, kurrent = process.env.KURRENTDB_URI } = values
const schema = "training_school"

// the program asks for a log and for a place for views, each of which is chosen by itself
const log =
  kurrent !== undefined
    ? KurrentLayer({ connectionString: kurrent, prefix: `${schema}.` })
    : postgres !== undefined
      ? PostgresLayer({ url: postgres, schema })
      : SqliteLayer({ filename: file })
const views = postgres !== undefined ? PostgresViews({ url: postgres, schema }) : SqliteViews({ filename: file })
const look =
  postgres !== undefined
    ? `psql URL -c "SELECT * FROM ${schema}_counts_v1.totals"`
    : `sqlite3 "${file}" "SELECT * FROM counts_v1_totals"`

/** What is to come out: counted from the events themselves. */
const countEvents = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const events = yield* Stream.runCollect(store.readAll([Dog]))
  const dogs = events.filter(({ event }) => event._tag === "Registered").length
  return { dogs, tricks: events.length - dogs }
})

/** Waits until the view has seen a command, and compares it with the events. */
const check = Effect.fn(function* (what: string, command: { readonly position: Position.Position | undefined }) {
  yield* Projection.wait(Counts, command.position)
  const { dogs, tricks } = yield* readCounts
  const events = yield* countEvents
  const verdict = dogs === events.dogs && tricks === events.tricks ? "right" : "WRONG"
  yield* Console.log(`  ${what}: ${dogs} dogs, ${tricks} tricks, which is ${verdict}`)
})

const program = Effect.gen(function* () {
  const school = yield* makeTrainingSchool
  const name = `Dog ${(yield* countEvents).dogs + 1}`

  // nobody counts yet
  yield* school.register(name)
  const taught = yield* school.addTrick(name, "roll over")

  yield* Console.log("A runner counts what was there, and what comes:")
  yield* Effect.gen(function* () {
    yield* check(`${name} is registered, and can roll over`, taught)
    yield* check("it learns to sit and stay", yield* school.addTrick(name, "sit and stay"))
    yield* check("it learns to play dead", yield* school.addTrick(name, "play dead"))
  }).pipe(Effect.provide(ProjectionRunner.layer(Counts)))

  // the runner is gone
  const unseen = yield* school.addTrick(name, "jump hoop")

  yield* Console.log("The next runner goes on where that one was:")
  yield* Effect.gen(function* () {
    yield* check("it has learnt to jump hoop meanwhile", unseen)
    yield* check("it learns to heel", yield* school.addTrick(name, "heel"))
  }).pipe(Effect.provide(ProjectionRunner.layer(Counts)))

  yield* Console.log("\nRun it again, and it counts on. To look at the view yourself:")
  yield* Console.log(`  ${look}`)
})

program.pipe(Effect.provide(Layer.merge(log, views)), NodeRuntime.runMain)
