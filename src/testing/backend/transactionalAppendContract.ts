/** The contract of {@link TransactionalAppend}. */
import { randomUUID } from "node:crypto"
import { assert, describe } from "@effect/vitest"
import { Array as Arr, Effect } from "effect"
import { SqlClient } from "effect/sql"
import { RecorderFailure } from "../../EventSourcingError.ts"
import { fromStorage } from "../../Position.ts"
import type { Append, ExpectedVersion } from "../../Recorder.ts"
import { Recorder } from "../../Recorder.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import type * as Tracking from "../../Tracking.ts"
import type { Request } from "../../TransactionalAppend.ts"
import { TransactionalAppend } from "../../TransactionalAppend.ts"
import type { Backend } from "./Backend.ts"
import { storedEvents } from "./events.ts"
import { interruptAfter } from "./internal/interrupting.ts"
import { assertPositions } from "./internal/positions.ts"
import { assertWrongVersion, lastVersion, readOrderlyLog, stream } from "./internal/reading.ts"
import { testsOn } from "./internal/register.ts"

type Services = Recorder | TrackedAppend | TransactionalAppend

const [rex, fido, max] = [stream("Dog-rex"), stream("Dog-fido"), stream("Dog-max")]

const appendOf = (name: typeof rex, expected: ExpectedVersion, count = 1): Append => ({
  stream: name,
  expected,
  events: storedEvents(count)
})

const failed = new RecorderFailure({ operation: "work", reason: "it can't be done" })

/** A table of this test alone: the database may contain other logs. */
const TABLE = `contract_notes_${randomUUID().replaceAll("-", "")}`

/** Runs a statement; its errors are not among what is tested. */
const run = <A>(text: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.orDie(sql.unsafe<{ readonly text: A }>(text)))

const note = (text: string) => run(`INSERT INTO ${TABLE} VALUES ('${text}')`)

/** From here on, no two notes may be equal. */
const withDistinctNotes = Effect.flatMap(TransactionalAppend, ({ append }) =>
  append({ appends: [] }, run(`CREATE UNIQUE INDEX ${TABLE}_text ON ${TABLE} (text)`))
)

/** Fails, as an error of the work, if the note exists already. */
const noteOnce = (text: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.mapError(
      sql.unsafe(`INSERT INTO ${TABLE} VALUES ('${text}')`),
      (cause) => new RecorderFailure({ operation: "work", reason: "the note is there already", cause })
    )
  )

/** Creates the table that the work writes to: in the transaction of an append without events. */
const withNotes = Effect.gen(function* () {
  const { append } = yield* TransactionalAppend
  yield* append({ appends: [] }, run(`CREATE TABLE ${TABLE} (text text NOT NULL)`))
})

/** The rows that the work has left. */
const notes = Effect.gen(function* () {
  const { append } = yield* TransactionalAppend
  let found: ReadonlyArray<string> = []
  yield* append(
    { appends: [] },
    Effect.map(run<string>(`SELECT text FROM ${TABLE} ORDER BY text`), (rows) => {
      found = rows.map(({ text }) => text)
    })
  )
  return found
})

/** Removes the table, which does not belong to the log. */
const ended = Effect.flatMap(TransactionalAppend, ({ append }) => append({ appends: [] }, run(`DROP TABLE ${TABLE}`)))

/** Registers the tests of appending together with work in a transaction: G1, G2, G7, G10. */
export const transactionalAppendContract = (backend: Backend<Services>): void => {
  const onNewLog = testsOn(backend)
  const test = <A, E>(name: string, body: Effect.Effect<A, E, Services>): void =>
    onNewLog(name, () => Effect.andThen(withNotes, Effect.ensuring(body, Effect.orDie(ended))))

  describe(`TransactionalAppend contract on ${backend.name}`, () => {
    test(
      "G1 work and events are recorded together",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        const appends = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream")]
        const answer = yield* append({ appends }, note("a"))
        yield* assertPositions(backend, recorder, appends, answer)
        yield* assertPositions(backend, recorder, appends, yield* append({ appends }, note("b")))
        assert.deepStrictEqual([...answer.versions], [1, 0])
        assert.strictEqual(answer.position, yield* recorder.head)
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 3)
        assert.deepStrictEqual(yield* notes, ["a"])
      })
    )

    test(
      "G1 work that fails leaves nothing of itself, nor of the events",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        const work = Effect.andThen(note("a"), Effect.fail(failed))
        assert.strictEqual(yield* Effect.flip(append({ appends: [appendOf(rex, "NoStream")] }, work)), failed)
        assert.deepStrictEqual(yield* notes, [])
        assert.strictEqual(yield* recorder.head, undefined)
        assert.strictEqual((yield* recorder.append(appendOf(rex, "NoStream"))).version, 0)
      })
    )

    test(
      "G2 an append that is refused leaves nothing of the work",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        yield* recorder.append(appendOf(rex, "NoStream"))
        const refused = yield* Effect.flip(append({ appends: [appendOf(rex, "NoStream")] }, note("a")))
        assertWrongVersion(refused, { stream: rex, expected: "NoStream", actual: 0 })
        const checked = append(
          { appends: [appendOf(fido, "NoStream")], checks: [{ stream: rex, expected: 7 }] },
          note("a")
        )
        assertWrongVersion(yield* Effect.flip(checked), { stream: rex, expected: 7, actual: 0 })
        assert.deepStrictEqual(yield* notes, [])
        assert.strictEqual(yield* lastVersion(recorder, fido), "NoStream")
      })
    )

    test(
      "G7 the same events again return the same result, and nothing of the work is kept",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        for (const appends of [[appendOf(rex, "NoStream")], [appendOf(rex, 0, 3), appendOf(fido, "NoStream")]]) {
          const answer = yield* append({ appends }, note("once"))
          const again = yield* append({ appends }, note("again"))
          assert.deepStrictEqual([[...again.versions], again.position], [[...answer.versions], answer.position])
        }
        assert.deepStrictEqual(yield* notes, ["once", "once"])
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 5)
      })
    )

    test(
      "G7 a repeated append does no work, even if the work would fail the second time",
      Effect.gen(function* () {
        yield* withDistinctNotes
        const { append } = yield* TransactionalAppend
        const { position } = yield* TrackedAppend
        const key: Tracking.Key = { projection: "notes", version: 1, upstream: "log", slice: 0 }
        const requests: ReadonlyArray<Request> = [
          { appends: [appendOf(rex, "NoStream")] },
          {
            appends: [appendOf(rex, 0, 3), appendOf(fido, "NoStream")],
            checks: [{ stream: max, expected: "NoStream" }]
          },
          { appends: [appendOf(fido, 0, 2)], move: { key, from: undefined, to: fromStorage(5n) } }
        ]
        for (const [n, request] of requests.entries()) {
          let done = 0
          const work = Effect.andThen(
            Effect.sync(() => done++),
            noteOnce(`n${n}`)
          )
          const answer = yield* append(request, work)
          const again = yield* append(request, work)
          assert.deepStrictEqual([[...again.versions], again.position], [[...answer.versions], answer.position])
          assert.strictEqual(done, 1)
        }
        assert.deepStrictEqual(yield* notes, ["n0", "n1", "n2"])
        assert.strictEqual(yield* position(key), 5n)
        assert.strictEqual((yield* readOrderlyLog(yield* Recorder)).length, 7)
      })
    )

    test(
      "G2 a stale append is refused with the actual version and does no work",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        yield* recorder.append(appendOf(rex, "NoStream", 2))
        let done = 0
        const work = Effect.suspend(() => {
          done++
          return Effect.fail(failed)
        })
        const refusals: ReadonlyArray<readonly [Request, ExpectedVersion]> = [
          [{ appends: [appendOf(rex, "NoStream")] }, "NoStream"],
          [{ appends: [appendOf(rex, 0)] }, 0],
          [{ appends: [appendOf(rex, 7, 2)] }, 7],
          [{ appends: [appendOf(fido, "NoStream"), appendOf(rex, 0, 2)] }, 0],
          [{ appends: [appendOf(fido, "NoStream")], checks: [{ stream: rex, expected: 0 }] }, 0],
          [{ appends: [], checks: [{ stream: rex, expected: "NoStream" }] }, "NoStream"]
        ]
        for (const [request, expected] of refusals) {
          const refused = yield* Effect.flip(append(request, work))
          assertWrongVersion(refused, { stream: rex, expected, actual: 1 })
        }
        assert.strictEqual(done, 0)
        assert.strictEqual(yield* lastVersion(recorder, fido), "NoStream")
      })
    )

    test(
      "G2 work that fails because another writer appended meanwhile is reported as a version conflict",
      Effect.gen(function* () {
        yield* withDistinctNotes
        const { append } = yield* TransactionalAppend
        for (const expected of ["NoStream", 0, 1] as const) {
          const attempts = yield* Effect.forEach(
            Arr.range(1, 8),
            () => Effect.result(append({ appends: [appendOf(rex, expected)] }, noteOnce(`at ${expected}`))),
            { concurrency: "unbounded" }
          )
          const refusals = attempts.flatMap((attempt) => (attempt._tag === "Failure" ? [attempt.failure] : []))
          assert.strictEqual(refusals.length, 7)
          for (const refused of refusals) {
            assertWrongVersion(refused, { stream: rex, expected, actual: expected === "NoStream" ? 0 : expected + 1 })
          }
        }
        assert.deepStrictEqual(yield* notes, ["at 0", "at 1", "at NoStream"])
      })
    )

    test(
      "G7 if work fails because the same append was sent twice concurrently, both return the same result",
      Effect.gen(function* () {
        yield* withDistinctNotes
        const { append } = yield* TransactionalAppend
        for (const expected of ["NoStream", 0, 1] as const) {
          const request = { appends: [appendOf(rex, expected), appendOf(fido, expected)] }
          const answers = yield* Effect.forEach(Arr.range(1, 8), () => append(request, noteOnce(`at ${expected}`)), {
            concurrency: "unbounded"
          })
          const version = expected === "NoStream" ? 0 : expected + 1
          for (const answer of answers) {
            assert.deepStrictEqual([[...answer.versions], answer.position], [[version, version], answers[0]?.position])
          }
        }
        assert.deepStrictEqual(yield* notes, ["at 0", "at 1", "at NoStream"])
        assert.strictEqual((yield* readOrderlyLog(yield* Recorder)).length, 6)
      })
    )

    test(
      "a tracking move is committed with work and events, or none of them is",
      Effect.gen(function* () {
        const { append } = yield* TransactionalAppend
        const { position } = yield* TrackedAppend
        const key: Tracking.Key = { projection: "notes", version: 1, upstream: "log", slice: 0 }
        const move = (from: bigint | undefined, to: bigint): Tracking.Move => ({
          key,
          from: from === undefined ? undefined : fromStorage(from),
          to: fromStorage(to)
        })
        yield* append({ appends: [appendOf(rex, "NoStream")], move: move(undefined, 5n) }, note("a"))
        assert.strictEqual(yield* position(key), 5n)
        const conflict = yield* Effect.flip(append({ appends: [appendOf(rex, 0)], move: move(4n, 9n) }, note("b")))
        assert.strictEqual(conflict._tag, "TrackingConflict")
        assert.strictEqual(yield* position(key), 5n)
        assert.deepStrictEqual(yield* notes, ["a"])
      })
    )

    test(
      "a tracking move to the same or an earlier position is refused, before any work",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        const { position } = yield* TrackedAppend
        const key: Tracking.Key = { projection: "notes", version: 1, upstream: "log", slice: 0 }
        const at = (n: number) => fromStorage(BigInt(n))
        yield* append({ appends: [], move: { key, from: undefined, to: at(30) } }, note("a"))
        let done = 0
        const work = Effect.sync(() => done++)
        for (const to of [30, 29, 20, 0]) {
          for (const appends of [[], [appendOf(rex, "NoStream")]]) {
            const refused = yield* Effect.flip(append({ appends, move: { key, from: at(30), to: at(to) } }, work))
            assert.strictEqual(refused._tag, "RecorderFailure")
            assert.match(refused.message, new RegExp(`"log".*"notes".*from position 30 to position ${to}`))
          }
        }
        assert.strictEqual(done, 0)
        assert.strictEqual(yield* position(key), 30n)
        assert.strictEqual(yield* lastVersion(recorder, rex), "NoStream")
      })
    )

    test(
      "G2 of many concurrent appends to one stream one succeeds, and only its work is kept",
      Effect.gen(function* () {
        const { append } = yield* TransactionalAppend
        const attempts = yield* Effect.forEach(
          Arr.range(1, 8),
          (n) => Effect.result(append({ appends: [appendOf(rex, "NoStream")] }, note(String(n)))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(attempts.filter(({ _tag }) => _tag === "Success").length, 1)
        assert.strictEqual((yield* notes).length, 1)
      })
    )

    test(
      "G3 the order is kept if others append in between",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        yield* Effect.forEach(
          Arr.range(1, 20),
          (n) => {
            const own = appendOf(stream(`Dog-${n}`), "NoStream", 2)
            return Effect.asVoid<unknown, unknown, never>(
              n % 2 === 0 ? append({ appends: [own] }, note(String(n))) : recorder.append(own)
            )
          },
          { concurrency: "unbounded", discard: true }
        )
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 40)
        assert.strictEqual((yield* notes).length, 10)
      })
    )

    test(
      "G10 if interrupted at any moment, work and events are either both there or both absent",
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        for (let turns = 0; turns < 24; turns++) {
          const name = stream(`Dog-${turns}`)
          const work = Effect.andThen(note(`n${turns}`), Effect.yieldNow)
          yield* interruptAfter(append({ appends: [appendOf(name, "NoStream")] }, work), turns)
          const isRecorded = (yield* lastVersion(recorder, name)) === 0
          assert.strictEqual((yield* notes).includes(`n${turns}`), isRecorded, `after ${turns} turns`)
        }
      })
    )

    onNewLog("an append made by the work is part of the transaction", () =>
      Effect.gen(function* () {
        yield* withNotes
        const recorder = yield* Recorder
        const { append } = yield* TransactionalAppend
        const other = Effect.orDie(recorder.append(appendOf(fido, "NoStream")))
        yield* Effect.flip(append({ appends: [appendOf(rex, 3)] }, other))
        assert.strictEqual(yield* recorder.head, undefined)
        yield* append({ appends: [appendOf(rex, "NoStream")] }, other)
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 2)
        yield* ended
      })
    )
  })
}
