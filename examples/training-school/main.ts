/**
 * A training school for dogs, kept in a SQLite file: `npm start`, or `npm start -- --file PATH`. Or in a PostgreSQL
 * database: `npm start -- --postgres postgresql://user:password@host/database`, in a schema of its own.
 *
 * It registers two dogs, teaches them tricks, and reads their details. Run it twice: the second run finds what the first
 * one recorded.
 */
import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Dog } from "./Dog.ts"
import { makeTrainingSchool } from "./TrainingSchool.ts"

const { file, postgres } = parseArgs({
  options: { file: { type: "string", default: "training-school.db" }, postgres: { type: "string" } }
}).values
const schema = "training_school"

const lessons = [
  { name: "Fido", tricks: ["roll over", "play dead"] },
  { name: "Rex", tricks: ["sit and stay", "jump hoop", "roll over"] }
]

const program = Effect.gen(function* () {
  const school = yield* makeTrainingSchool
  const store = yield* EventStore.EventStore
  const countEvents = Stream.runCount(store.readAll([Dog]))
  const before = yield* countEvents

  for (const { name, tricks } of lessons) {
    const registered = school.register(name).pipe(
      Effect.as(`${name} is registered.`),
      Effect.catchTag("AggregateAlreadyExists", () => Effect.succeed(`${name} is registered already.`))
    )
    yield* Console.log(yield* registered)
    for (const trick of tricks) {
      const taught = school.addTrick(name, trick).pipe(
        Effect.as(`  ${name} learns to ${trick}.`),
        Effect.catchTag("TrickAlreadyKnown", (error) => Effect.succeed(`  ${error.dog} can ${error.trick} already.`))
      )
      yield* Console.log(yield* taught)
    }
  }

  yield* Console.log("\nThe dogs, from their events:")
  for (const { name } of lessons) {
    const { state, version } = yield* school.details(name)
    yield* Console.log(`  ${state.name} (version ${version}): ${state.tricks.join(", ")}`)
  }

  const recorded = (yield* countEvents) - before
  const place = postgres === undefined ? resolve(file) : `the schema ${schema} of the database`
  yield* Console.log(`\n${before} events were there, ${recorded} were recorded, in ${place}`)
  yield* Console.log("Run it again, and it finds them. To look at them yourself:")
  const query = (table: string, payload: string) => `"SELECT position, stream, version, type, ${payload} FROM ${table}"`
  yield* Console.log(
    postgres === undefined
      ? `  sqlite3 "${file}" ${query("stored_events", "payload")}`
      : `  psql URL -c ${query(`${schema}.stored_events`, "payload_text")}`
  )
})

// the program asks for a repository and an event store, and runs on whatever layer provides them
const layer = postgres === undefined ? SqliteLayer({ filename: file }) : PostgresLayer({ url: postgres, schema })

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
