/** The user's own transactions that see the log as of their beginning, and sessions whose transactions all do. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Fiber } from "effect"
import type { Recorder, Tracking } from "effect-eventsourcing"
import { MultiStreamAppend, Position, StreamName, TrackedAppend, TransactionalAppend } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { newSchema } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { hold, openLog, untilWaiting, watch } from "./support/openLog.ts"

const LEVELS = ["REPEATABLE READ", "SERIALIZABLE"] as const
type Level = (typeof LEVELS)[number]

const a = StreamName.StreamName.make("Dog-a")
const b = StreamName.StreamName.make("Dog-b")

const places = ({ recorder }: Log) =>
  Effect.map(recorder.readAll({ limit: 10_000 }), (log) => log.map(({ stream, version }) => `${stream}@${version}`))

/** Two processes; the log contains one event of stream a. */
const twoLogs = Effect.gen(function* () {
  const schema = yield* newSchema
  const [mine, others] = [yield* openLog(schema), yield* openLog(schema)]
  yield* others.append(a)
  return { mine, others }
})

/** Runs work in a transaction that has looked at the log before others changed it. */
const behind = <A, E>(
  { mine }: { readonly mine: Log },
  level: Level,
  meanwhile: Effect.Effect<unknown, unknown>,
  work: Effect.Effect<A, E>
) =>
  mine.sql.withTransaction(
    Effect.gen(function* () {
      yield* mine.sql.unsafe(`SET TRANSACTION ISOLATION LEVEL ${level}`)
      yield* mine.recorder.head
      yield* Effect.orDie(meanwhile)
      return yield* work
    })
  )

const appendTo = ({ recorder }: Log, stream: StreamName.StreamName, expected: Recorder.ExpectedVersion, count = 1) =>
  recorder.append({ stream, expected, events: storedEvents(count) })

const key: Tracking.Key = { projection: "views", version: 1, upstream: "log", slice: 0 }
const moveTo = (from: bigint | undefined, to: bigint): Tracking.Move => ({
  key,
  from: from === undefined ? undefined : Position.Position.make(from),
  to: Position.Position.make(to)
})

for (const level of LEVELS) {
  describe(`a ${level} transaction of the user's`, () => {
    for (const count of [1, 3]) {
      it.live(`G2 G3 an append of ${count} to a stream that has grown since it began records nothing`, () =>
        Effect.gen(function* () {
          const logs = yield* twoLogs
          const seen = yield* watch(logs.others.recorder)
          const [first, second] = yield* behind(
            logs,
            level,
            logs.others.append(a),
            // the version at which it believes the stream to be, and its actual version
            Effect.all([Effect.flip(appendTo(logs.mine, a, 0, count)), Effect.flip(appendTo(logs.mine, a, 1, count))])
          )
          for (const error of [first, second]) {
            assert.include(["RecorderUnavailable", "RecorderFailure", "WrongExpectedVersion"], error._tag)
          }
          assert.deepStrictEqual(yield* places(logs.mine), ["Dog-a@0", "Dog-a@1"])
          yield* appendTo(logs.mine, a, 1, count)
          yield* seen.until(2 + count)
          assert.deepStrictEqual(seen.events, yield* places(logs.others))
        })
      )
    }

    it.live(
      "an append of any kind fails because it would not see newer events, and leaves the transaction usable",
      () =>
        Effect.gen(function* () {
          const logs = yield* twoLogs
          const { append } = Context.get(logs.mine.services, MultiStreamAppend.MultiStreamAppend)
          const tracked = Context.get(logs.mine.services, TrackedAppend.TrackedAppend)
          const behindWork = Context.get(logs.mine.services, TransactionalAppend.TransactionalAppend)
          const one = { stream: b, expected: "NoStream", events: storedEvents(1) } as const
          const kinds: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>> = [
            appendTo(logs.mine, b, "NoStream"),
            appendTo(logs.mine, b, "NoStream", 3),
            // a check would see the stream as it was
            append([one], [{ stream: a, expected: 0 }]),
            tracked.append([one], moveTo(undefined, 5n)),
            behindWork.append({ appends: [one] }, Effect.void),
            // refused because of a version that may be long outdated
            behindWork.append({ appends: [{ ...one, stream: a }] }, Effect.void)
          ]
          const values = yield* behind(
            logs,
            level,
            logs.others.append(a),
            Effect.gen(function* () {
              for (const kind of kinds) {
                const error = yield* Effect.flip(kind)
                assert.deepInclude(error, { _tag: "RecorderFailure" })
                assert.include(error.message, `an append in a ${level} transaction does not see`)
                assert.include(error.message, "READ COMMITTED")
              }
              return yield* logs.mine.sql`SELECT 1 AS one`
            })
          )
          assert.deepStrictEqual({ ...values[0] }, { one: 1 })
          assert.deepStrictEqual(yield* places(logs.mine), ["Dog-a@0", "Dog-a@1"])
        })
    )
  })

  describe(`sessions whose transactions are ${level} by default`, () => {
    /** An append that waits while another one is committed: it began before that one, and gets the lock after it. */
    const race = (
      raced: (log: Log) => Effect.Effect<unknown, unknown>,
      racing: (log: Log) => Effect.Effect<unknown, unknown>
    ): Effect.Effect<{ readonly log: Log; readonly outcome: Effect.Effect<unknown, unknown> }, unknown, Scope.Scope> =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const mine = yield* openLog(schema)
        const startupParameters = { default_transaction_isolation: level.toLowerCase() }
        const others = yield* openLog(schema, { lockTimeout: "30 seconds", client: { startupParameters } })
        const held = yield* hold(mine, raced(mine))
        const fiber = yield* Effect.forkScoped(racing(others), { startImmediately: true })
        yield* untilWaiting(mine)
        yield* held.commit
        return { log: mine, outcome: Fiber.join(fiber) }
      })

    for (const count of [1, 3]) {
      it.live(
        `G2 of two appends of ${count} at the same version one succeeds, and the other is refused with both versions`,
        () =>
          Effect.gen(function* () {
            const { log, outcome } = yield* race(
              (log) => appendTo(log, a, "NoStream", count),
              (log) => appendTo(log, a, "NoStream", count)
            )
            const error = yield* Effect.flip(outcome)
            assert.deepInclude(error, {
              _tag: "WrongExpectedVersion",
              stream: a,
              expected: "NoStream",
              actual: count - 1
            })
            assert.strictEqual((yield* places(log)).length, count)
          })
      )

      it.live(`G7 an append of ${count} that is sent twice concurrently is recorded once, and both succeed`, () =>
        Effect.gen(function* () {
          const sent: Recorder.Append = { stream: a, expected: "NoStream", events: storedEvents(count) }
          const { log, outcome } = yield* race(
            ({ recorder }) => recorder.append(sent),
            ({ recorder }) => recorder.append(sent)
          )
          assert.deepInclude(yield* outcome, { version: count - 1 })
          assert.strictEqual((yield* places(log)).length, count)
        })
      )
    }

    for (const count of [1, 3]) {
      it.live(`G7 an append of ${count} whose session is killed while it waits succeeds, and is recorded once`, () =>
        Effect.gen(function* () {
          const schema = yield* newSchema
          const mine = yield* openLog(schema)
          const startupParameters = { default_transaction_isolation: level.toLowerCase() }
          const others = yield* openLog(schema, { lockTimeout: "30 seconds", client: { startupParameters } })
          const held = yield* hold(mine, appendTo(mine, a, "NoStream"))
          const appending = yield* Effect.forkScoped(appendTo(others, b, "NoStream", count), { startImmediately: true })
          const ended = Effect.andThen(Fiber.join(appending), Effect.die(new Error("it has ended")))
          for (let round = 0; round < 2; round++) {
            yield* Effect.raceFirst(untilWaiting(mine), ended)
            for (const pid of yield* mine.waiting) yield* mine.sql`SELECT pg_terminate_backend(${pid})`
          }
          yield* held.commit
          assert.strictEqual((yield* Fiber.join(appending)).version, count - 1)
          assert.strictEqual((yield* places(mine)).length, 1 + count)
        })
      )
    }

    it.live("G2 a check of a stream that grew meanwhile refuses the append", () =>
      Effect.gen(function* () {
        const { log, outcome } = yield* race(
          (log) => appendTo(log, a, "NoStream"),
          ({ services }) =>
            Context.get(services, MultiStreamAppend.MultiStreamAppend).append(
              [{ stream: b, expected: "NoStream", events: storedEvents(1) }],
              [{ stream: a, expected: "NoStream" }]
            )
        )
        const error = yield* Effect.flip(outcome)
        assert.deepInclude(error, { _tag: "WrongExpectedVersion", stream: a, actual: 0 })
        assert.deepStrictEqual(yield* places(log), ["Dog-a@0"])
      })
    )
  })
}
