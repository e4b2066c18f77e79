/**
 * A training school for dogs, kept in a SQLite file: `npm start`. The environment chooses another place for the events:
 * `PERSISTENCE=postgres POSTGRES_URL=postgresql://user:password@host/database npm start`, or `PERSISTENCE=kurrent` with
 * `KURRENTDB_URI`; docs/configuration.md has all variables. `npm start -- --file PATH`, `--postgres URL` and `--kurrent URL`
 * say the same.
 *
 * It registers two dogs, teaches them tricks, and reads their details. Run it twice: the second run finds what the first
 * one recorded.
 */
import { resolve } from "node:path"
import { NodeRuntime } from "@effect/platform-node"
import { Config, ConfigProvider, Console, Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { ConfigLayer } from "effect-eventsourcing/config"
import { Dog } from "./Dog.ts"
import { environment } from "./environment.ts"
import { makeTrainingSchool } from "./TrainingSchool.ts"

const schema = "training_school"
const prefix = "training_school."
const filename = "training-school.db"

// where the events are kept: the program asks for a repository and an event store, and the environment says on what
const layer = ConfigLayer({ persistence: "sqlite", sqlite: { filename }, postgres: { schema }, kurrent: { prefix } })

/** The place of the events, and how to look at them. */
const place = Effect.gen(function* () {
  const query = (table: string, payload: string) => `"SELECT position, stream, version, type, ${payload} FROM ${table}"`
  const persistence = yield* Config.withDefault(Config.String("PERSISTENCE"), "sqlite")
  const file = yield* Config.withDefault(Config.String("SQLITE_FILENAME"), filename)
  const own = yield* Config.withDefault(Config.String("POSTGRES_SCHEMA"), schema)
  const begin = yield* Config.withDefault(Config.String("KURRENTDB_PREFIX"), prefix)
  switch (persistence) {
    case "postgres":
      return [`the schema ${own} of the database`, `psql URL -c ${query(`${own}.stored_events`, "payload_text")}`]
    case "kurrent": {
      const stream = `${begin}Dog-${Dog.id("Fido")}`
      return [`the streams ${begin}Dog-… of the server`, `the stream browser of the server, stream ${stream}`]
    }
    case "memory":
      return ["memory, and gone when the program ends", "run it on another backend"]
    default:
      return [resolve(file), `sqlite3 "${file}" ${query("stored_events", "payload")}`]
  }
})

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
  const [where, look] = yield* place
  yield* Console.log(`\n${before} events were there, ${recorded} were recorded, in ${where}`)
  yield* Console.log("Run it again, and it finds them. To look at them yourself:")
  yield* Console.log(`  ${look}`)
})

program.pipe(
  Effect.provide(layer),
  Effect.provideService(ConfigProvider.ConfigProvider, environment()),
  NodeRuntime.runMain
)
