/** Appends within the user's own transaction, beside rows of the user's own: what fails, and what is rolled back. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Recorder, StoredEvent } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import { storedEvent, storedEvents } from "effect-eventsourcing/testing/backend"
import { newSchema } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { openLog, untilWaiting, watch } from "./support/openLog.ts"

const stream = StreamName.StreamName.make("Dog-a")

/** A log, with a follower, and a table of the user's own; another connection to the same log. */
const logAndTable = Effect.gen(function* () {
  const schema = yield* newSchema
  // the follower is notified, and does not depend on the poll
  const log = yield* openLog(schema, { pollInterval: "1 hour" })
  const others = yield* openLog(schema, { lockTimeout: "30 seconds", pollInterval: "1 hour" })
  const table = log.sql`${log.sql(schema)}.names`
  yield* log.sql`CREATE TABLE ${table} (name text PRIMARY KEY)`
  const seen = [yield* watch(log.recorder), yield* watch(others.recorder)]
  return {
    log,
    others,
    insert: (name: string) => log.sql`INSERT INTO ${table} VALUES (${name})`,
    names: Effect.map(others.sql<{ name: string }>`SELECT name FROM ${table} ORDER BY name`, (rows) =>
      rows.map(({ name }) => name)
    ),
    /** All see the same events of the stream: the same number, without a gap. */
    assertEvents: (count: number) =>
      Effect.gen(function* () {
        const expected = Array.from({ length: count }, (_, version) => `${stream}@${version}`)
        const log = yield* others.recorder.readAll({ limit: 1000 })
        assert.deepStrictEqual(
          log.map(({ stream, version }) => `${stream}@${version}`),
          expected
        )
        for (const { events, until } of seen) {
          yield* until(count)
          assert.deepStrictEqual(events, expected)
        }
      })
  }
})

const appendAt = (
  { recorder }: Log,
  expected: Recorder.ExpectedVersion,
  events: NonEmptyReadonlyArray<StoredEvent.StoredEvent> = storedEvents(1)
) => recorder.append({ stream, expected, events })

class RolledBack extends Error {
  readonly _tag = "RolledBack"
}
const rollBack = Effect.fail(new RolledBack())

/** Fails with this alone. */
const isRolledBack = (self: Effect.Effect<unknown, unknown>) =>
  Effect.map(Effect.flip(self), (error) => assert.instanceOf(error, RolledBack))

describe("an append that fails in the user's own transaction", () => {
  const [recordedElsewhere, twice] = [storedEvent(), storedEvent()]
  const failures: Readonly<Record<string, { events: NonEmptyReadonlyArray<StoredEvent.StoredEvent>; tag: string }>> = {
    "one that is refused": { events: storedEvents(1), tag: "WrongExpectedVersion" },
    "several that are refused": { events: storedEvents(3), tag: "WrongExpectedVersion" },
    "an id that is recorded elsewhere": { events: [recordedElsewhere], tag: "RecorderFailure" },
    "an id among several that is recorded elsewhere": {
      events: [storedEvent(), recordedElsewhere, storedEvent()],
      tag: "RecorderFailure"
    },
    "a text that PostgreSQL does not have": { events: [storedEvent({ payload: "\0" })], tag: "RecorderFailure" },
    "an id that is there twice": { events: [twice, twice], tag: "RecorderFailure" }
  }
  for (const [name, { events, tag }] of Object.entries(failures)) {
    it.live(`G1 ${name}: nothing of it is recorded, and what is before and after it is`, () =>
      Effect.gen(function* () {
        const { assertEvents, insert, log, names } = yield* logAndTable
        yield* appendAt(log, "NoStream", [recordedElsewhere])
        yield* log.sql.withTransaction(
          Effect.gen(function* () {
            yield* insert("before")
            yield* appendAt(log, 0)
            const expected = tag === "WrongExpectedVersion" ? 7 : 1
            const error = yield* Effect.flip(appendAt(log, expected, events))
            assert.strictEqual(error._tag, tag)
            if (error._tag === "WrongExpectedVersion") assert.strictEqual(error.actual, 1)
            yield* insert("between")
            yield* appendAt(log, 1)
            yield* insert("after")
          })
        )
        assert.deepStrictEqual(yield* names, ["after", "before", "between"])
        yield* assertEvents(3)
      })
    )
  }

  it.live("G1 as its only append, releases the lock to others", () =>
    Effect.gen(function* () {
      const { assertEvents, insert, log, names, others } = yield* logAndTable
      yield* log.sql.withTransaction(
        Effect.gen(function* () {
          yield* insert("before")
          assert.strictEqual((yield* Effect.flip(appendAt(log, 7, storedEvents(2))))._tag, "WrongExpectedVersion")
          yield* appendAt(others, "NoStream", storedEvents(2))
          yield* insert("after")
        })
      )
      assert.deepStrictEqual(yield* names, ["after", "before"])
      yield* assertEvents(2)
    })
  )

  it.live("a transaction that has already failed refuses the append, with an error that says so", () =>
    Effect.gen(function* () {
      const { assertEvents, insert, log, names } = yield* logAndTable
      yield* isRolledBack(
        log.sql.withTransaction(
          Effect.gen(function* () {
            yield* insert("twice")
            yield* Effect.flip(insert("twice"))
            const error = yield* Effect.flip(appendAt(log, "NoStream"))
            assert.strictEqual(error._tag, "RecorderFailure")
            assert.include(error.message, "begin another")
            yield* rollBack
          })
        )
      )
      assert.deepStrictEqual(yield* names, [])
      yield* assertEvents(0)
    })
  )
})

describe("events and the user's own rows", () => {
  it.live("G1 are both there after the commit, and neither after a rollback", () =>
    Effect.gen(function* () {
      const { assertEvents, insert, log, names, others } = yield* logAndTable
      const work = Effect.andThen(insert("a"), Effect.andThen(appendAt(log, "NoStream", storedEvents(2)), insert("b")))
      yield* isRolledBack(log.sql.withTransaction(Effect.andThen(work, rollBack)))
      // a row that fails takes the events with it
      assert.deepInclude(yield* Effect.flip(log.sql.withTransaction(Effect.andThen(work, insert("a")))), {
        _tag: "SqlError"
      })
      assert.deepStrictEqual(yield* names, [])
      assert.isUndefined(yield* others.recorder.head)
      yield* log.sql.withTransaction(work)
      assert.deepStrictEqual(yield* names, ["a", "b"])
      yield* assertEvents(2)
    })
  )

  it.live("G1 a constraint that fails at the commit rolls back the events, too", () =>
    Effect.gen(function* () {
      const { assertEvents, insert, log, names } = yield* logAndTable
      const child = log.sql`${log.sql(yield* newSchema)}`
      yield* log.sql`CREATE SCHEMA ${child}`
      yield* log.sql`CREATE TABLE ${child}.late (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)`
      const error = yield* Effect.flip(
        log.sql.withTransaction(
          Effect.gen(function* () {
            yield* insert("a")
            yield* log.sql`INSERT INTO ${child}.late VALUES (1), (1)`
            yield* appendAt(log, "NoStream", storedEvents(2))
          })
        )
      )
      assert.deepInclude(error, { _tag: "SqlError" })
      assert.deepStrictEqual(yield* names, [])
      yield* appendAt(log, "NoStream")
      yield* assertEvents(1)
    })
  )
})

describe("a savepoint with an append in it that is rolled back", () => {
  it.live("G1 G3 G4 rolls back the append, and events appended before and after it stay", () =>
    Effect.gen(function* () {
      const { assertEvents, insert, log, names } = yield* logAndTable
      yield* log.sql.withTransaction(
        Effect.gen(function* () {
          yield* insert("before")
          yield* appendAt(log, "NoStream", storedEvents(2))
          const inner = Effect.gen(function* () {
            yield* insert("inner")
            yield* appendAt(log, 1, storedEvents(3))
            yield* log.sql.withTransaction(appendAt(log, 4))
            yield* rollBack
          })
          yield* isRolledBack(log.sql.withTransaction(inner))
          const [last] = yield* log.recorder.readStream({ stream, direction: "backward", limit: 1 })
          assert.strictEqual(last?.version, 1)
          yield* appendAt(log, 1)
          yield* insert("after")
        })
      )
      assert.deepStrictEqual(yield* names, ["after", "before"])
      yield* assertEvents(3)
    })
  )

  it.live("G3 keeps the lock that the transaction has from before it", () =>
    Effect.gen(function* () {
      const { assertEvents, log, others } = yield* logAndTable
      const appending = yield* log.sql.withTransaction(
        Effect.gen(function* () {
          yield* appendAt(log, "NoStream")
          yield* isRolledBack(log.sql.withTransaction(Effect.andThen(appendAt(log, 0, storedEvents(2)), rollBack)))
          const fiber = yield* Effect.forkDetach(appendAt(others, 1), { startImmediately: true })
          yield* untilWaiting(others)
          yield* appendAt(log, 0)
          assert.strictEqual((yield* others.waiting).length, 1)
          return fiber
        })
      )
      assert.strictEqual((yield* Fiber.join(appending)).version, 2)
      yield* assertEvents(3)
    })
  )

  it.live("G3 releases the lock if it was the first to append, and the transaction may append again", () =>
    Effect.gen(function* () {
      const { assertEvents, log, others } = yield* logAndTable
      yield* log.sql.withTransaction(
        Effect.gen(function* () {
          yield* isRolledBack(
            log.sql.withTransaction(Effect.andThen(appendAt(log, "NoStream", storedEvents(4)), rollBack))
          )
          yield* appendAt(others, "NoStream")
          yield* appendAt(log, 0)
        })
      )
      yield* appendAt(others, 1)
      yield* assertEvents(3)
    })
  )

  it.live("G2 frees the versions of the events that are rolled back, for others as well", () =>
    Effect.gen(function* () {
      const { assertEvents, log, others } = yield* logAndTable
      const sent = storedEvents(2)
      yield* log.sql.withTransaction(
        Effect.gen(function* () {
          yield* isRolledBack(log.sql.withTransaction(Effect.andThen(appendAt(log, "NoStream", sent), rollBack)))
          yield* appendAt(others, "NoStream")
          assert.strictEqual((yield* Effect.flip(appendAt(log, "NoStream", sent)))._tag, "WrongExpectedVersion")
          // the very events that were rolled back
          assert.strictEqual((yield* appendAt(log, 0, sent)).version, 2)
        })
      )
      yield* assertEvents(3)
    })
  )
})
