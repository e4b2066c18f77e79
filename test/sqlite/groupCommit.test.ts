/** Appends of one process that are recorded in one transaction: each with its own result. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { MultiStreamAppend, Recorder } from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer } from "effect-eventsourcing/sqlite"
import { uncaught } from "../support/uncaughtError.ts"
import { append, event } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import * as Temporary from "./support/temporaryFile.ts"

const open = (filename: string) => Layer.merge(SqliteLayer({ filename }), layerSqlClient({ filename }))

/** How many transactions an effect adds to the file's write-ahead log. */
const transactionsOf = <A, E, R>(filename: string, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const before = Stored.transactionsInWal(filename)
    const answer = yield* effect
    return { answer, transactions: Stored.transactionsInWal(filename) - before }
  })

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

const streams = (filename: string) =>
  Effect.map(Stored.rows(filename), (rows) => rows.map(({ stream }) => stream).sort())

const RECORDED = "recorded"

/** The outcome of an append: recorded, or its error. */
const outcome = <E>(append: Effect.Effect<unknown, E>): Effect.Effect<E | typeof RECORDED> =>
  Effect.match(append, { onSuccess: () => RECORDED, onFailure: (error) => error })

describe("group commit", () => {
  it.effect("64 concurrent appends take few transactions, and successive ones take one each", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const appends = numbers(64).map((n) => recorder.append(append(`Test-${n}`)))
        const atOnce = yield* transactionsOf(filename, Effect.all(appends, { concurrency: "unbounded" }))
        assert.isAtLeast(atOnce.transactions, 1)
        assert.isAtMost(atOnce.transactions, 4)
        assert.deepStrictEqual(
          atOnce.answer.map(({ version }) => version),
          numbers(64).map(() => 0)
        )
        assert.strictEqual(new Set(atOnce.answer.map(({ position }) => position)).size, 64)

        const inTurn = yield* transactionsOf(
          filename,
          Effect.forEach(numbers(8), (n) => recorder.append(append(`Test-in turn ${n}`)))
        )
        assert.strictEqual(inTurn.transactions, 8)
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("G2 a conflict fails only its own append", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const several = yield* MultiStreamAppend.MultiStreamAppend
        const { answer, transactions } = yield* transactionsOf(
          filename,
          Effect.all(
            [
              ...numbers(60).map((n) => outcome(recorder.append(append(`Test-${n}`)))),
              outcome(recorder.append(append("Test-a", { expected: 7 }))),
              outcome(several.append([append("Test-b"), append("Test-c", { expected: 0 })])),
              // of two on the same stream, the first one wins
              outcome(recorder.append(append("Test-d"))),
              outcome(recorder.append(append("Test-d")))
            ],
            { concurrency: "unbounded" }
          )
        )
        assert.isAtMost(transactions, 4)
        assert.isTrue(answer.slice(0, 60).every((one) => one === RECORDED))
        assert.deepStrictEqual(
          answer.slice(60).map((one) => (one === RECORDED ? one : one.message)),
          [
            'stream "Test-a" was expected to be at version 7 but has no events',
            'stream "Test-c" was expected to be at version 0 but has no events',
            RECORDED,
            'stream "Test-d" was expected to have no events but is at version 0'
          ]
        )
        const expected = [...numbers(60).map((n) => `Test-${n}`), "Test-d"].sort()
        assert.deepStrictEqual(yield* streams(filename), expected)
      }).pipe(Effect.provide(open(filename)))
    })
  )

  for (const raise of ["ABORT", "FAIL", "ROLLBACK"]) {
    it.effect(`G1 a value that the database refuses fails all of its own append, and no other: RAISE(${raise})`, () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const recorder = yield* Recorder.Recorder
          const several = yield* MultiStreamAppend.MultiStreamAppend
          yield* sql.unsafe(
            `CREATE TRIGGER refuse BEFORE INSERT ON stored_events WHEN NEW.type = 'Test.Refused'
             BEGIN SELECT RAISE(${raise}, 'the trigger refuses it'); END`
          )
          const refused = event({ type: "Test.Refused" })
          const answers = yield* Effect.all(
            [
              ...numbers(30).map((n) => outcome(recorder.append(append(`Test-${n}`)))),
              outcome(recorder.append(append("Test-second refused", { events: [event(), refused] }))),
              outcome(several.append([append("Test-a"), append("Test-b", { events: [event(), refused] })])),
              ...numbers(30).map((n) => outcome(recorder.append(append(`Test-${30 + n}`))))
            ],
            { concurrency: "unbounded" }
          )
          const failures = answers.flatMap((error, i) => (error === RECORDED ? [] : [{ i, error }]))
          assert.deepStrictEqual(
            failures.map(({ i, error }) => [i, error._tag]),
            [
              [30, "RecorderFailure"],
              [31, "RecorderFailure"]
            ]
          )
          assert.isTrue(failures.every(({ error }) => error.message.includes("the trigger refuses it")))
          assert.deepStrictEqual(
            yield* streams(filename),
            numbers(60)
              .map((n) => `Test-${n}`)
              .sort()
          )

          // an append that arrives alone is refused, too, and the appends after it are not affected
          const alone = yield* Effect.flip(recorder.append(append("Test-alone", { events: [refused] })))
          assert.strictEqual(alone._tag, "RecorderFailure")
          yield* sql`DROP TRIGGER refuse`
          assert.strictEqual((yield* recorder.append(append("Test-alone", { events: [refused] }))).version, 0)
        }).pipe(Effect.provide(open(filename)))
      })
    )
  }

  it.live("one that appends without a pause lets timers and other writers run", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        let count = 0
        const busy = yield* Effect.suspend(() => recorder.append(append(`Test-busy ${count++}`))).pipe(
          Effect.forever,
          Effect.forkChild
        )
        for (const n of numbers(5)) {
          const before = count
          yield* Effect.sleep("5 millis")
          yield* recorder.append(append(`Test-${n}`))
          assert.isAbove(count, before)
        }
        yield* Fiber.interrupt(busy)
        // an append that was interrupted after its transaction had begun is recorded, one before that is not
        const recorded = (yield* streams(filename)).length - 5
        assert.isTrue(recorded === count || recorded === count - 1, `${recorded} of ${count}`)
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("G10 appends that are interrupted before their turn leave nothing, and the others are recorded", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const recorder = yield* Recorder.Recorder
        const begun = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        const transaction = yield* Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(goOn)).pipe(
          sql.withTransaction,
          Effect.forkChild
        )
        yield* Deferred.await(begun)
        const waiting = yield* Effect.forEach(numbers(64), (n) =>
          Effect.forkChild(recorder.append(append(`Test-${n}`)), { startImmediately: true })
        )
        const odd = (_: unknown, n: number) => n % 2 === 1
        yield* Fiber.interruptAll(waiting.filter(odd))
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(transaction)
        yield* Fiber.joinAll(waiting.filter((_, n) => n % 2 === 0))
        const even = numbers(64).filter((n) => n % 2 === 0)
        assert.deepStrictEqual(yield* streams(filename), even.map((n) => `Test-${n}`).sort())
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("a caller whose observer throws does not keep others from their results", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const thrown = new Error("an observer's own")
        const told = yield* Effect.forkChild(uncaught, { startImmediately: true })
        Effect.runCallback(recorder.append(append("Test-throws")), {
          onExit: () => {
            throw thrown
          }
        })
        const others = numbers(8).map((n) => recorder.append(append(`Test-${n}`)))
        yield* Effect.all(others, { concurrency: "unbounded" })
        assert.strictEqual(yield* Fiber.join(told), thrown)
        yield* recorder.append(append("Test-later"))
        assert.strictEqual((yield* streams(filename)).length, 10)
      }).pipe(Effect.provide(open(filename)))
    })
  )
})
