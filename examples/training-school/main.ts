/**
 * A training school for dogs, kept in a SQLite file: `npm start`, or `npm start -- --file PATH`. Or in a PostgreSQL
 * database: `npm start -- --postgres postgresql://user:password@host/database`, in a schema of its own. Or on a KurrentDB
 * server: `npm start -- --kurrent kurrentdb://host:2113?tls=false`, or with that in `KURRENTDB_URI`.
 *
 * It registers two dogs, teaches them tricks, and reads their details. Run it twice: the second run finds what the first
 * one recorded.
 */
import { resolve } from "node:path"
import { parseArgs } from "node:util"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Dog } from "./Dog.ts"
import { makeTrainingSchool } from "./TrainingSchool.ts"

const { values } = parseArgs({
  options: { file: { type: "string" }, postgres: { type: "string" }, kurrent: { type: "string" } }
})
const schema = "training_school"
const prefix = "training_school."

// where the events are kept: the program asks for a repository and an event store, and runs on whatever layer provides them
const choose = () => {
  const { file = "training-school.db", postgres, kurrent = process.env.KURRENTDB_URI } = values
  const query = (table: string, payload: string) => `"SELECT position, stream, version, type, ${payload} FROM ${table}"`
  if (postgres !== undefined) {
    return {
      layer: PostgresLayer({ url: postgres, schema }),
      place: `the schema ${schema} of the database`,
      look: `psql URL -c ${query(`${schema}.stored_events`, "payload_text")}`
    }
  }
  if (kurrent !== undefined && values.file === undefined) {
    return {
      layer: KurrentLayer({ connectionString: kurrent, prefix }),
      place: `the streams ${prefix}Dog-… of the server`,
      look: `the stream browser of the server, stream ${prefix}Dog-${Dog.id("Fido")}`
    }
  }
  return {
    layer: SqliteLayer({ filename: file }),
    place: resolve(file),
    look: `sqlite3 "${file}" ${query("stored_events", "payload")}`
  }
}
const { layer, look, place } = choose()

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
  yield* Console.log(`\n${before} events were there, ${recorded} were recorded, in ${place}`)
  yield* Console.log("Run it again, and it finds them. To look at them yourself:")
  yield* Console.log(`  ${look}`)
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
