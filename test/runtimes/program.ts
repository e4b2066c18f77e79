/**
 * A program for any runtime: commands, a projection, encryption and compression on the backend that its first argument
 * names. `scripts/check-package.ts` runs it with the packed package on each runtime, and compares its output.
 */
import { Effect, Layer, Schema } from "effect"
import {
  Aggregate,
  Cipher,
  Compressor,
  KeyService,
  Mapper,
  Projection,
  ProjectionRunner,
  Repository,
  Transcoder
} from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"

const Dog = Aggregate.make("Dog", {
  state: { name: Schema.String, tricks: Schema.Array(Schema.String) },
  creation: { Registered: { name: Schema.NonEmptyString } },
  events: { TrickAdded: { trick: Schema.NonEmptyString } },
  reduce: {
    Registered: ({ name }) => ({ name, tricks: [] }),
    TrickAdded: (dog, { trick }) => ({ ...dog, tricks: [...dog.tricks, trick] })
  }
})

const inMemory = Projection.make("tricks", {
  aggregates: [Dog],
  view: Projection.memory(() => 0),
  handlers: {
    Dog: { Registered: Projection.ignore, TrickAdded: (_event, view) => view.update((count) => count + 1) }
  }
})

const inTables = Projection.make("tricks", {
  aggregates: [Dog],
  view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("tricks")} (trick text NOT NULL)`),
  handlers: {
    Dog: {
      Registered: Projection.ignore,
      TrickAdded: ({ event }, { sql, table }) => sql`INSERT INTO ${table("tricks")} (trick) VALUES (${event.trick})`
    }
  }
})

const mapper = Layer.unwrap(
  Effect.map(KeyService.randomKey(32), (key) =>
    Mapper.layer.pipe(
      Layer.provide([Transcoder.layerJson, Compressor.layerZstd, Cipher.layerKeys([{ id: "one", key }])])
    )
  )
)

const options = { mapper, cacheCapacity: 0 }

/** The address of a server, or the path of a file. */
const [, , backend = "memory", place = ""] = process.argv

/** Commands, and the reads that a caller makes of their results. */
const teach = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  const rex = yield* Dog.randomId
  yield* dogs.execute(rex, Dog.Registered({ name: "Rex" }))
  for (const trick of ["sit", "roll over"]) yield* dogs.execute(rex, Dog.TrickAdded({ trick }))
  // long enough to be compressed
  const { position } = yield* dogs.execute(rex, Dog.TrickAdded({ trick: "x".repeat(5000) }))
  const { state, version } = yield* dogs.get(rex)
  return { position, found: `${state.name} ${state.tricks.length} ${version}` }
})

const memoryViews = Effect.gen(function* () {
  yield* ProjectionRunner.make(inMemory)
  const { found, position } = yield* teach
  yield* Projection.wait(inMemory, position)
  return `${found} ${yield* Projection.read(inMemory, (view) => view.get)}`
}).pipe(Effect.scoped, Effect.provide(MemoryViews()))

const tables = Effect.gen(function* () {
  yield* ProjectionRunner.make(inTables)
  const { found, position } = yield* teach
  yield* Projection.wait(inTables, position)
  const rows = yield* Projection.read(inTables, ({ sql, table }) => sql`SELECT trick FROM ${table("tricks")}`)
  return `${found} ${rows.length}`
}).pipe(Effect.scoped)

const schema = `runtimes_${Date.now()}`

const run = async () => {
  switch (backend) {
    case "memory":
      return memoryViews.pipe(Effect.provide(MemoryLayer(options)))
    case "SQLite": {
      const { SqliteLayer, SqliteViews } = await import("effect-eventsourcing/sqlite")
      const filename = place
      return tables.pipe(Effect.provide(Layer.merge(SqliteLayer({ ...options, filename }), SqliteViews({ filename }))))
    }
    case "PostgreSQL": {
      const { PostgresLayer, PostgresViews } = await import("effect-eventsourcing/postgres")
      const to = { url: place, schema }
      return tables.pipe(Effect.provide(Layer.merge(PostgresLayer({ ...options, ...to }), PostgresViews(to))))
    }
    case "KurrentDB": {
      const { KurrentLayer } = await import("effect-eventsourcing/kurrent")
      return memoryViews.pipe(
        Effect.provide(KurrentLayer({ ...options, connectionString: place, prefix: `${schema}.` }))
      )
    }
    default:
      throw new Error(`no such backend: ${backend}`)
  }
}

console.log(await Effect.runPromise(await run()))
