/** Appends after work, where another process appends between the look at the log and the end of the work. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Array as Arr, Context, Deferred, Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { Recorder, Tracking } from "effect-eventsourcing"
import {
  EventSourcingError,
  Position,
  Projection,
  Repository,
  StreamName,
  TrackedAppend,
  TransactionalAppend
} from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { newViewsSchema } from "../support/backends.ts"
import { addTrick, Dog } from "../support/dog.ts"
import { newSchema, url } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { openLog } from "./support/openLog.ts"

const a = StreamName.StreamName.make("Dog-a")
const b = StreamName.StreamName.make("Dog-b")

const appendOf = (stream: StreamName.StreamName, expected: Recorder.ExpectedVersion): Recorder.Append => ({
  stream,
  expected,
  events: storedEvents(2)
})

const key: Tracking.Key = { projection: "names", version: 1, upstream: "log", slice: 0 }
const move: Tracking.Move = { key, from: undefined, to: Position.Position.make(7n) }

const append = (
  { services }: Log,
  request: TransactionalAppend.Request,
  work: Effect.Effect<unknown, EventSourcingError.RecorderError>
) => Context.get(services, TransactionalAppend.TransactionalAppend).append(request, work)

/** Two processes, and a table with a primary key. */
const twoLogs = Effect.gen(function* () {
  const schema = yield* newSchema
  // the look sees what is committed by then, whatever the transactions of the sessions would see
  const startupParameters = { default_transaction_isolation: "repeatable read" }
  const mine = yield* openLog(schema, { client: { startupParameters } })
  const others = yield* openLog(schema)
  yield* mine.sql`CREATE TABLE ${mine.sql(schema)}.names (name text PRIMARY KEY)`
  const insert = ({ sql }: Log, name: string) =>
    Effect.mapError(
      sql`INSERT INTO ${sql(schema)}.names VALUES (${name})`,
      (cause) => new EventSourcingError.RecorderFailure({ operation: "work", reason: "taken", cause })
    )
  const names = Effect.map(
    others.sql<{ name: string }>`SELECT name FROM ${others.sql(schema)}.names ORDER BY name`,
    (rows) => rows.map(({ name }) => name)
  )
  return { schema, mine, others, insert, names }
})

type Logs = Effect.Success<typeof twoLogs>

/** Where the append runs: in a transaction of its own, or in one of the user's, which continues after it. */
const places: Readonly<Record<string, (logs: Logs) => <A, E>(self: Effect.Effect<A, E>) => Effect.Effect<A, unknown>>> =
  {
    "in a transaction of its own": () => (self) => self,
    "in the user's own transaction":
      ({ mine, insert }) =>
      (self) => {
        const whole = Effect.andThen(
          insert(mine, "before"),
          Effect.tap(self, () => insert(mine, "after"))
        )
        return Effect.provideService(
          mine.sql.withTransaction(whole),
          SqlClient.BeginTransaction,
          "BEGIN ISOLATION LEVEL READ COMMITTED"
        )
      }
  }

describe.each(Object.entries(places))("an append after work %s", (place, within) => {
  const own = place === "in the user's own transaction" ? ["after", "before"] : []
  const test = (name: string, run: (logs: Logs) => Effect.Effect<unknown, unknown, Scope.Scope>): void =>
    it.live(name, () => Effect.flatMap(twoLogs, run))

  test("G2 is refused by the version if another writer appended before the work failed", (logs) =>
    Effect.gen(function* () {
      const { insert, mine, names, others } = logs
      const work = Effect.andThen(
        Effect.orDie(append(others, { appends: [appendOf(a, "NoStream")] }, insert(others, "rex"))),
        insert(mine, "rex")
      )
      const request = { appends: [appendOf(b, "NoStream"), appendOf(a, "NoStream")] }
      const refused = yield* within(logs)(Effect.flip(append(mine, request, work)))
      assert.deepInclude(refused, { _tag: "WrongExpectedVersion", stream: a, expected: "NoStream", actual: 1 })
      assert.deepStrictEqual(yield* names, [...own, "rex"])
    }))

  test("G2 is refused by the version if another writer holds the lock that the work waits for", (logs) =>
    Effect.gen(function* () {
      const { insert, mine, names, others } = logs
      const inserted = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const theirs = Effect.andThen(
        insert(others, "rex"),
        Effect.andThen(Deferred.succeed(inserted, undefined), Deferred.await(go))
      )
      const writing = yield* Effect.forkChild(append(others, { appends: [appendOf(a, "NoStream")] }, theirs))
      yield* Deferred.await(inserted)
      const work = Effect.andThen(Deferred.succeed(go, undefined), insert(mine, "rex"))
      const refused = yield* within(logs)(Effect.flip(append(mine, { appends: [appendOf(a, "NoStream")] }, work)))
      yield* Fiber.join(writing)
      assert.deepInclude(refused, { _tag: "WrongExpectedVersion", stream: a, expected: "NoStream", actual: 1 })
      assert.deepStrictEqual(yield* names, [...own, "rex"])
    }))

  test("G7 returns the result of the other if the same append came before", (logs) =>
    Effect.gen(function* () {
      const { insert, mine, names, others } = logs
      const request = { appends: [appendOf(a, "NoStream"), appendOf(b, "NoStream")], move }
      const theirs = yield* Deferred.make<unknown>()
      const work = Effect.andThen(
        Effect.flatMap(Effect.orDie(append(others, request, insert(others, "rex"))), (answer) =>
          Deferred.succeed(theirs, answer)
        ),
        insert(mine, "rex")
      )
      const answer = yield* within(logs)(append(mine, request, work))
      assert.deepStrictEqual(answer, yield* Deferred.await(theirs))
      assert.deepStrictEqual(yield* names, [...own, "rex"])
      assert.strictEqual((yield* mine.recorder.readAll({ limit: 10 })).length, 4)
    }))

  test("is refused by the tracking if that moved before, or before the work failed", (logs) =>
    Effect.gen(function* () {
      const { insert, mine, names, others } = logs
      const moved = Context.get(others.services, TrackedAppend.TrackedAppend).append([appendOf(b, "NoStream")], move)
      const meanwhile = Effect.andThen(Effect.orDie(moved), Effect.andThen(insert(mine, "rex"), insert(mine, "rex")))
      const conflicts = yield* within(logs)(
        Effect.forEach([meanwhile, Effect.die("no work is to be done")], (work) =>
          Effect.flip(append(mine, { appends: [appendOf(a, "NoStream")], move }, work))
        )
      )
      for (const conflict of conflicts) {
        assert.deepInclude(conflict, { _tag: "TrackingConflict", expected: undefined, actual: move.to })
      }
      assert.deepStrictEqual(yield* names, own)
    }))

  test("G1 fails with the error of work that fails for a reason of its own", (logs) =>
    Effect.gen(function* () {
      const { insert, mine, names, others } = logs
      const work = Effect.andThen(
        Effect.orDie(others.recorder.append(appendOf(b, "NoStream"))),
        Effect.andThen(insert(mine, "rex"), insert(mine, "rex"))
      )
      const error = yield* within(logs)(Effect.flip(append(mine, { appends: [appendOf(a, "NoStream")], move }, work)))
      assert.deepInclude(error, { _tag: "RecorderFailure", operation: "work", reason: "taken" })
      assert.deepStrictEqual(yield* names, own)
      assert.strictEqual((yield* mine.recorder.append(appendOf(a, "NoStream"))).version, 1)
    }))
})

it.live("the precheck does not wait for the position lock, and does not take it", () =>
  Effect.gen(function* () {
    const { insert, mine, others } = yield* twoLogs
    yield* others.recorder.append(appendOf(a, "NoStream"))
    yield* others.sql.withTransaction(
      Effect.gen(function* () {
        yield* others.recorder.append(appendOf(b, "NoStream"))
        const refused = yield* Effect.flip(append(mine, { appends: [appendOf(a, "NoStream")] }, insert(mine, "rex")))
        assert.strictEqual(refused._tag, "WrongExpectedVersion")
      })
    )
    // others append while the work is running
    const work = Effect.orDie(others.recorder.append(appendOf(b, 1)))
    yield* append(mine, { appends: [appendOf(a, 1)] }, work)
  })
)

const tricks = Projection.make("tricks", {
  aggregates: [Dog],
  inline: true,
  view: Projection.sql(
    ({ sql, table }) =>
      sql`CREATE TABLE ${table("tricks")} (stream text, version integer, trick text, PRIMARY KEY (stream, version))`
  ),
  handlers: {
    Dog: {
      Registered: Projection.ignore,
      TrickAdded: ({ stream, version, event }, { sql, table }) =>
        sql`INSERT INTO ${table("tricks")} VALUES (${stream}, ${version}, ${event.trick})`,
      Rested: Projection.ignore
    }
  }
})

it.live("G2 a repository that lags other processes decides again, with an inline projection of plain INSERTs", () =>
  Effect.gen(function* () {
    const [schema, viewsSchema] = [yield* newSchema, yield* newViewsSchema]
    const log = Layer.fresh(PostgresLayer({ url: url(), schema, viewsSchema, inline: [tricks] }))
    const processes = yield* Effect.forEach(Arr.range(1, 4), () =>
      Effect.flatMap(Layer.build(log), (services) => Effect.provide(Repository.of(Dog), services))
    )
    const fido = Dog.id("Fido")
    const [first] = processes
    if (first === undefined) return assert.fail()
    yield* first.execute(fido, Dog.Registered({ name: "Fido" }))
    for (const round of Arr.range(1, 5)) {
      yield* Effect.forEach(processes, (dogs, n) => dogs.execute(fido, addTrick(`${round}.${n}`)), {
        concurrency: "unbounded"
      })
    }
    assert.strictEqual((yield* first.get(fido)).version, 20)
    const rows = Projection.read(tricks, ({ sql, table }) => sql`SELECT trick FROM ${table("tricks")}`)
    const views = PostgresViews({ url: url(), schema: viewsSchema })
    assert.strictEqual((yield* Effect.provide(rows, [log, views])).length, 20)
  })
)
