/**
 * Counts the dogs and tricks of the training school, in a view that is kept up to date with its events: `npm run example:school-counts`,
 * on the log of `npm start`, whose dogs are counted too.
 *
 * By default log and view are in one SQLite file (`--file PATH`). With `--postgres URL` both are in a PostgreSQL database. With
 * `--kurrent URL` or `KURRENTDB_URI` the log is on a KurrentDB server, and the view in the SQLite file, or in the database that
 * `--postgres` names. Variables of the environment say the same (`PERSISTENCE`, `VIEWS_PERSISTENCE`): docs/configuration.md.
 *
 * It registers a dog and teaches it tricks, waits for the view to have seen each of these commands, and asks it. In the middle
 * the runner of the projection is gone for a while: the next one continues where it was.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, ConfigProvider, Console, Effect, Layer, Stream } from "effect"
import type { Position } from "effect-eventsourcing"
import { EventStore, Projection, ProjectionRunner } from "effect-eventsourcing"
import { ConfigLayer, ConfigViews } from "effect-eventsourcing/config"
import { Dog } from "../training-school/Dog.ts"
import { environment } from "../training-school/environment.ts"
import { makeTrainingSchool } from "../training-school/TrainingSchool.ts"
import { Counts, readCounts } from "./Counts.ts"

const schema = "training_school"
const filename = "training-school.db"

// the program asks for a log and for a place for views; the environment says where each is
const log = ConfigLayer({
  persistence: "sqlite",
  sqlite: { filename },
  postgres: { schema },
  kurrent: { prefix: `${schema}.` }
})
const views = ConfigViews({ persistence: "sqlite", sqlite: { filename }, postgres: { schema } })

/** How to look at the view. */
const look = Effect.gen(function* () {
  const persistence = Config.withDefault(Config.String("PERSISTENCE"), "sqlite")
  const place = yield* Config.orElse(Config.String("VIEWS_PERSISTENCE"), () => persistence)
  const file = yield* Config.withDefault(Config.String("SQLITE_FILENAME"), filename)
  return place === "postgres"
    ? `psql URL -c "SELECT * FROM ${schema}_counts_v1.totals"`
    : `sqlite3 "${file}" "SELECT * FROM counts_v1_totals"`
})

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

  yield* Console.log("The next runner continues where that one was:")
  yield* Effect.gen(function* () {
    yield* check("it has learnt to jump hoop meanwhile", unseen)
    yield* check("it learns to heel", yield* school.addTrick(name, "heel"))
  }).pipe(Effect.provide(ProjectionRunner.layer(Counts)))

  yield* Console.log("\nRun it again, and it counts on. To look at the view yourself:")
  yield* Console.log(`  ${yield* look}`)
})

program.pipe(
  Effect.provide(Layer.merge(log, views)),
  Effect.provideService(ConfigProvider.ConfigProvider, environment()),
  NodeRuntime.runMain
)
