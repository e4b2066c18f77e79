/** The counts of the training school: as programs, and from each log into each kind of view. */
import * as path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Fiber, Layer, Redacted } from "effect"
import type { Position } from "effect-eventsourcing"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { Counts, readCounts } from "../../examples/school-counts/Counts.ts"
import { Dog } from "../../examples/training-school/Dog.ts"
import { makeTrainingSchool } from "../../examples/training-school/TrainingSchool.ts"
import { startFake } from "../kurrent/fake/server.ts"
import { connect, newDatabase } from "../postgres/support/database.ts"
import type { Services as LogServices } from "../support/backends.ts"
import { logs, MemoryViews, sqlViews } from "../support/backends.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import { run, temporaryDirectory } from "./support/program.ts"

interface Totals {
  readonly dogs: number
  readonly tricks: number
}

const MemoryCounts = Projection.make("counts", {
  aggregates: [Dog],
  view: Projection.memory((): Totals => ({ dogs: 0, tricks: 0 })),
  handlers: {
    Dog: {
      Registered: (_event, view) => view.update((totals) => ({ ...totals, dogs: totals.dogs + 1 })),
      TrickAdded: (_event, view) => view.update((totals) => ({ ...totals, tricks: totals.tricks + 1 }))
    }
  }
})

/** A place for views, and the counts that are stored there. */
interface Place<R> {
  readonly views: Layer.Layer<R, unknown>
  readonly survives: boolean
  readonly runner: Layer.Layer<never, never, LogServices | R>
  readonly wait: (position: Position.Position | undefined) => Effect.Effect<void, unknown, R>
  readonly read: Effect.Effect<Totals, unknown, R>
}

const inMemory = Effect.succeed({
  views: MemoryViews(),
  survives: false,
  runner: ProjectionRunner.layer(MemoryCounts),
  wait: (position: Position.Position | undefined) => untilProcessed(MemoryCounts, position),
  read: Projection.read(MemoryCounts, (view) => view.get)
})

const inTables = (makeViews: (typeof sqlViews)[string]) =>
  Effect.map(makeViews, (views) => ({
    views,
    survives: true,
    runner: ProjectionRunner.layer(Counts),
    wait: (position: Position.Position | undefined) => untilProcessed(Counts, position),
    read: readCounts
  }))

type MakeLog = (typeof logs)[string]

/** A log that is the same one when it is built again, even in memory. */
const reopened = (
  name: string,
  makeLog: MakeLog
): Effect.Effect<Layer.Layer<LogServices, unknown>, unknown, Scope.Scope> =>
  Effect.flatMap(makeLog, (log) =>
    name === "memory" ? Effect.map(Layer.build(log), (context) => Layer.succeedContext(context)) : Effect.succeed(log)
  )

const scenario = Effect.fnUntraced(function* <R>(
  name: string,
  makeLog: MakeLog,
  makePlace: Effect.Effect<Place<R>, unknown, Scope.Scope>
) {
  const log = yield* reopened(name, makeLog)
  const { read, runner, survives, views, wait } = yield* makePlace
  /** A process: everything in it is built for it alone. */
  const process = <A, E>(self: Effect.Effect<A, E, LogServices | R>) => Effect.provide(self, Layer.merge(log, views))

  yield* process(
    Effect.gen(function* () {
      const school = yield* makeTrainingSchool
      yield* school.register("Fido")
      yield* school.addTrick("Fido", "roll over")
      const { position } = yield* school.addTrick("Fido", "play dead")
      yield* Effect.gen(function* () {
        yield* wait(position)
        assert.deepStrictEqual(yield* read, { dogs: 1, tricks: 2 })
        yield* wait((yield* school.addTrick("Fido", "sit and stay")).position)
        assert.deepStrictEqual(yield* read, { dogs: 1, tricks: 3 })
        yield* wait((yield* school.addTrick("Fido", "jump hoop")).position)
        assert.deepStrictEqual(yield* read, { dogs: 1, tricks: 4 })
      }).pipe(Effect.provide(runner))

      // commands continue, and the runner ends in the middle of them
      const litter = Array.from({ length: 40 }, (_, i) => `Puppy ${i}`)
      const registering = yield* Effect.gen(function* () {
        const [first = "", ...others] = litter
        const { position } = yield* school.register(first)
        const fiber = yield* Effect.forkDetach(Effect.forEach(others, (puppy) => school.register(puppy)))
        yield* wait(position)
        return fiber
      }).pipe(Effect.provide(runner))
      yield* Fiber.join(registering)
      const { dogs, tricks } = yield* read
      assert.deepStrictEqual([dogs > 1 && dogs < 42, tricks], [true, 4])
    })
  )

  yield* process(
    Effect.gen(function* () {
      const school = yield* makeTrainingSchool
      const { position } = yield* school.register("Rex")
      if (survives) assert.strictEqual((yield* read).tricks, 4)
      yield* Effect.gen(function* () {
        yield* wait(position)
        assert.deepStrictEqual(yield* read, { dogs: 42, tricks: 4 })
        yield* wait((yield* school.addTrick("Rex", "roll over")).position)
        assert.deepStrictEqual(yield* read, { dogs: 42, tricks: 5 })
      }).pipe(Effect.provide(runner))
    })
  )
})

describe.concurrent.each(Object.entries(logs))("the counts from %s", (name, makeLog) => {
  it.live("G6 into memory: right after each command, and again after a restart", () =>
    scenario(name, makeLog, inMemory)
  )

  it.live.each(Object.entries(sqlViews))(
    "G6 into %s: right after each command, and after a restart in the middle",
    ([, makeViews]) => scenario(name, makeLog, inTables(makeViews))
  )
})

const withoutServers = { ...process.env, KURRENTDB_URI: undefined }

describe("school-counts", () => {
  it.live("counts correctly on SQLite, twice, and prints a query that shows the view", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const counts = run("school-counts", ["--file", "my school.db"], { cwd, env: withoutServers })
      for (const n of [1, 2]) {
        const { code, stderr, stdout } = yield* counts
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.strictEqual(stdout.match(/which is right/g)?.length, 5)
        assert.include(stdout, `it learns to heel: ${n} dogs, ${n * 5} tricks`)
        const [, file = "", query = ""] = /sqlite3 "([^"]+)" "([^"]+)"/.exec(stdout) ?? []
        const db = new DatabaseSync(path.join(cwd, file))
        try {
          assert.deepStrictEqual({ ...db.prepare(query).get() }, { dogs: n, tricks: n * 5 })
        } finally {
          db.close()
        }
      }
    })
  )

  it.live("counts the dogs of an existing school", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      assert.strictEqual((yield* run("training-school", [], { cwd, env: withoutServers })).code, 0)
      const { stdout } = yield* run("school-counts", [], { cwd, env: withoutServers })
      assert.include(stdout, "it learns to heel: 3 dogs, 10 tricks, which is right")
    })
  )

  it.live("counts correctly on PostgreSQL, twice, and prints a query that shows the view", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const postgres = yield* newDatabase()
      const counts = run("school-counts", ["--postgres", postgres], { cwd, env: withoutServers })
      for (const n of [1, 2]) {
        const { code, stderr, stdout } = yield* counts
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.strictEqual(stdout.match(/which is right/g)?.length, 5)
        const [, query = ""] = /psql URL -c "([^"]+)"/.exec(stdout) ?? []
        const sql = yield* connect({ url: Redacted.make(postgres), maxConnections: 1 })
        assert.deepStrictEqual(yield* sql.unsafe(query), [{ dogs: n, tricks: n * 5 }])
      }
    })
  )

  it.live("counts correctly from KurrentDB into a SQLite file, twice", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const { uri } = yield* Effect.acquireRelease(
        Effect.promise(() => startFake()),
        (fake) => Effect.promise(() => fake.stop())
      )
      const counts = run("school-counts", [], { cwd, env: { ...process.env, KURRENTDB_URI: uri } })
      for (const n of [1, 2]) {
        const { code, stderr, stdout } = yield* counts
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.strictEqual(stdout.match(/which is right/g)?.length, 5)
        assert.include(stdout, `it learns to heel: ${n} dogs, ${n * 5} tricks`)
      }
    })
  )
})
