/** How a user's own SQL on the file of a log affects the appends beside it. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Recorder } from "effect-eventsourcing"
import { layerRecorders, layerSqlClient } from "effect-eventsourcing/sqlite"
import { append } from "./support/appends.ts"
import { withConnection } from "./support/inspectFile.ts"
import * as Temporary from "./support/temporaryFile.ts"

const opened = Effect.gen(function* () {
  const filename = yield* Temporary.file
  const context = yield* Layer.build(
    Layer.merge(layerRecorders({ filename, lockTimeout: "1 second" }), layerSqlClient({ filename }))
  )
  const sql = Context.get(context, SqlClient.SqlClient)
  yield* sql`CREATE TABLE numbers (n INTEGER NOT NULL)`
  // more than are fetched at once, so that the query is still open when its reader stops
  const numbers = JSON.stringify(Array.from({ length: 1000 }, (_, i) => i))
  yield* sql`INSERT INTO numbers SELECT value FROM json_each(${numbers})`
  return { filename, sql, recorder: Context.get(context, Recorder.Recorder) }
})

describe("a stream of rows that ends early", () => {
  it.live.each([
    ["is taken from", (rows: Stream.Stream<unknown, unknown>) => Stream.runDrain(Stream.take(rows, 1))],
    ["fails", (rows: Stream.Stream<unknown, unknown>) => Effect.flip(Stream.runForEach(rows, () => Effect.fail("no")))],
    [
      "is interrupted",
      (rows: Stream.Stream<unknown, unknown>) =>
        Effect.gen(function* () {
          const first = yield* Deferred.make<void>()
          const reading = yield* Effect.forkChild(
            Stream.runForEach(rows, () => Effect.andThen(Deferred.succeed(first, undefined), Effect.never))
          )
          yield* Deferred.await(first)
          yield* Fiber.interrupt(reading)
        })
    ]
  ] as const)("because it %s holds no snapshot of the file: appends continue after others have written", ([, use]) =>
    Effect.gen(function* () {
      const { filename, sql, recorder } = yield* opened
      yield* use(sql`SELECT n FROM numbers`.stream)
      yield* withConnection(filename, (db) => db.exec("INSERT INTO numbers VALUES (6)"))
      const { version } = yield* recorder.append(append("Dog-1"))
      assert.strictEqual(version, 0)
    })
  )
})

it.effect("a query of several statements is refused, instead of only its first one being run", () =>
  Effect.gen(function* () {
    const { sql } = yield* opened
    const several = "INSERT INTO numbers VALUES (-1); INSERT INTO numbers VALUES (-2)"
    for (const query of [sql.unsafe(several), sql.unsafe(several).unprepared, sql.unsafe(several).values]) {
      const { message, reason } = yield* Effect.flip(query)
      assert.include(
        `${message} ${String(reason.cause)}`,
        "a query must be a single statement, but text follows the first one: INSERT"
      )
    }
    assert.deepStrictEqual(yield* sql`SELECT n FROM numbers WHERE n < 0`, [])
    // a comment is not a statement
    yield* sql.unsafe("INSERT INTO numbers VALUES (-1); -- and that is it\n /* ; */ ;")
    assert.deepStrictEqual(yield* sql`SELECT n FROM numbers WHERE n < 0`, [{ n: -1 }])
  })
)

it.live("a fiber of a transaction may append once the transaction is over", () =>
  Effect.gen(function* () {
    const { sql, recorder } = yield* opened
    const over = yield* Deferred.make<void>()
    const appending = yield* sql.withTransaction(
      Effect.forkDetach(Effect.andThen(Deferred.await(over), recorder.append(append("Dog-1"))))
    )
    yield* Deferred.succeed(over, undefined)
    assert.strictEqual((yield* Fiber.join(appending)).version, 0)
  })
)
