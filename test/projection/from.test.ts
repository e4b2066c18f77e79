/** Where side effects begin: with a log that has a past, and when their version is raised. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schedule } from "effect"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { Position, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { Counter, Dog } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Entry } from "./support/journalView.ts"
import { count, entries, ignored } from "./support/journalView.ts"
import { until, untilState } from "./support/runnerStates.ts"
import type { Views } from "./support/viewKinds.ts"
import { kinds } from "./support/viewKinds.ts"

type Services = EventSourcing.EventSourcing | Recorder.Recorder | Views

interface Options {
  readonly version?: number
  readonly from?: Projection.Start
  /** Whether it also handles dogs. */
  readonly dogs?: boolean
  /** Runs before the mail is sent. */
  readonly sending?: () => Effect.Effect<void, unknown>
}

const at = (position: number) => Position.Position.make(BigInt(position))

/** Mail, and the test sees what was sent. */
const makeMail = (view: "memory" | "tables") => {
  const sent: Array<Entry> = []
  const define = ({ dogs = false, sending = () => Effect.void, ...options }: Options = {}) => {
    const send = ({ stream, version }: { readonly stream: string; readonly version: number }) =>
      Effect.andThen(
        Effect.suspend(sending),
        Effect.sync(() => {
          sent.push(`${stream} ${version}`)
        })
      )
    const handlers = { Started: send, Increased: send }
    const kept = view === "memory" ? Projection.memory(() => 0) : Projection.sql(() => Effect.void)
    return dogs
      ? Projection.atLeastOnce("mail", {
          ...options,
          aggregates: [Counter, Dog],
          view: kept,
          handlers: { Counter: handlers, Dog: { Registered: send, TrickAdded: send, Rested: send } }
        })
      : Projection.atLeastOnce("mail", {
          ...options,
          aggregates: [Counter],
          view: kept,
          handlers: { Counter: handlers }
        })
  }
  /** What was sent since this was last called. */
  const take = () => sent.splice(0)
  return { define, take }
}

type Mail = ReturnType<ReturnType<typeof makeMail>["define"]>

/** Runs it until it has reached the end of the log. */
const runToEnd = (mail: Mail, options: ProjectionRunner.Options = {}) =>
  Effect.scoped(Effect.flatMap(ProjectionRunner.make(mail, options), (runner) => untilState(runner, "Live")))

describe.concurrent.each(Object.entries(kinds))("a side effect whose progress is in %s", (name, kind) => {
  const test = (
    title: string,
    run: (mail: ReturnType<typeof makeMail>) => Effect.Effect<unknown, unknown, Services>
  ): void =>
    it.live(title, () =>
      Effect.flatMap(kind.make, (place) =>
        Effect.provide(
          run(makeMail(name === "memory" ? "memory" : "tables")),
          Layer.mergeAll(MemoryLayer(), place, Logger.layer([]))
        )
      )
    )

  test("a higher version with another aggregate continues: it repeats nothing, and omits nothing", ({ define, take }) =>
    Effect.gen(function* () {
      yield* count("a", 3)
      yield* ignored
      yield* runToEnd(define())
      assert.deepStrictEqual(take(), entries("a", 0, 1, 2))
      yield* count("a", 2)
      const error = yield* Effect.flip(ProjectionRunner.run(define({ dogs: true })))
      assert.include(error.message, "a higher version, which continues where this one is and repeats nothing")
      const next = define({ version: 2, dogs: true })
      yield* runToEnd(next)
      // what the first version had not reached, and the dogs' events after that
      assert.deepStrictEqual(take(), entries("a", 3, 4))
      yield* ignored
      yield* count("a")
      yield* runToEnd(next)
      const sent = take()
      assert.strictEqual(sent.length, 2)
      assert.include(sent, entries("a", 5)[0])
      yield* runToEnd(define({ version: 3, dogs: true }))
      assert.deepStrictEqual(take(), [])
    }))

  test("a higher version replaces a running one at once, also before that has reached the end", ({ define, take }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* count("a", 2)
        const old = yield* ProjectionRunner.make(define())
        yield* untilState(old, "Live")
        const runner = yield* ProjectionRunner.make(define({ version: 2 }))
        yield* untilState(runner, "Live")
        assert.include(yield* Effect.flip(old.join), { _tag: "ProjectionSuperseded", version: 1, by: 2 })
        yield* untilProcessed(define({ version: 2 }), yield* count("a", 2))
        assert.deepStrictEqual(take(), entries("a", 0, 1, 2, 3))
        const versions = yield* Projection.versions(define())
        assert.deepStrictEqual(
          versions.map(({ version, status }) => `${version} ${status}`),
          ["1 retired", "2 current"]
        )
      })
    ))

  test("dead letters are carried over: a higher version has them, and replays them", ({ define, take }) =>
    Effect.gen(function* () {
      const isWell = { value: false }
      const failing = (version: number) =>
        define({ version, sending: () => (isWell.value ? Effect.void : Effect.fail("no")) })
      yield* count("a", 2)
      yield* runToEnd(failing(1), { retry: Schedule.recurs(0), onFailure: "set-aside" })
      yield* runToEnd(failing(2))
      assert.deepStrictEqual(take(), [])
      // an event of its stream waits after them
      yield* count("a")
      yield* runToEnd(failing(2), { onFailure: "set-aside" })
      assert.deepStrictEqual(take(), [])
      const letters = yield* Projection.deadLetters(failing(2))
      assert.deepStrictEqual(
        letters.map(({ streamVersion }) => streamVersion),
        [0, 1, 2]
      )
      assert.deepStrictEqual(yield* Projection.deadLetters(failing(1)), [])
      isWell.value = true
      assert.include(yield* Projection.replay(failing(2)), { replayed: 3 })
      assert.deepStrictEqual(take(), entries("a", 0, 1, 2))
    }))

  test("it starts where the definition says: with the first event, with the next event, or after a position", ({
    define,
    take
  }) =>
    Effect.gen(function* () {
      const second = yield* count("a", 2)
      yield* count("a", 2)
      for (const [version, from, sent] of [
        [1, "start", [0, 1, 2, 3]],
        [2, "end", []],
        [3, second, [2, 3]],
        [4, "start", [0, 1, 2, 3]]
      ] as const) {
        yield* runToEnd(define({ version, from }))
        assert.deepStrictEqual(take(), entries("a", ...sent), `from ${from}`)
      }
    }))

  test("one that starts at the end gets events that are recorded right after its runner started", ({ define, take }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* count("a", 2)
        const mail = define({ from: "end" })
        yield* ProjectionRunner.make(mail)
        yield* untilProcessed(mail, yield* count("a"))
        assert.deepStrictEqual(take(), entries("a", 2))
        // from the end that the log has when it is reset
        yield* Projection.reset(mail)
        yield* until(Effect.map(Projection.versions(mail), ([version]) => version?.position === at(3)))
        yield* untilProcessed(mail, yield* count("a"))
        assert.deepStrictEqual(take(), entries("a", 3))
      })
    ))

  test("one that starts at the end of an empty log gets everything", ({ define, take }) =>
    Effect.gen(function* () {
      yield* runToEnd(define({ from: "end" }))
      yield* count("a", 2)
      yield* runToEnd(define({ from: "end" }))
      assert.deepStrictEqual(take(), entries("a", 0, 1))
    }))

  test("a higher version whose `from` is the same continues: nothing between is omitted or repeated", ({
    define,
    take
  }) =>
    Effect.gen(function* () {
      const first = yield* count("a")
      for (const [i, from] of (["end", first] as const).entries()) {
        const version = 10 * i + 1
        yield* runToEnd(define({ version, from }))
        take()
        yield* count(`b${i}`, 2)
        // its program was stopped, and the next one is deployed
        yield* runToEnd(define({ version: version + 1, from }))
        assert.deepStrictEqual(take(), entries(`b${i}`, 0, 1))
        // also through a version without `from`
        yield* runToEnd(define({ version: version + 2 }))
        yield* count(`b${i}`)
        yield* runToEnd(define({ version: version + 3, from }))
        assert.deepStrictEqual(take(), entries(`b${i}`, 2))
      }
    }))

  test("one that is to start after a position that the log has not reached waits for it, and reports that", ({
    define,
    take
  }) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* count("a")
        const mail = define({ from: at(3) })
        const runner = yield* ProjectionRunner.make(mail)
        const { cause } = yield* untilState(runner, "Retrying")
        assert.include(cause, { _tag: "PositionBeyondHead", from: at(3), head: at(1) })
        yield* count("a", 2)
        yield* untilState(runner, "Live")
        yield* untilProcessed(mail, yield* count("a"))
        assert.deepStrictEqual(take(), entries("a", 3))
      })
    ))

  test("a reset repeats everything from its starting point", ({ define, take }) =>
    Effect.gen(function* () {
      const first = yield* count("a")
      yield* count("a", 2)
      const mail = define({ from: first })
      for (let n = 0; n < 2; n++) {
        yield* runToEnd(mail)
        assert.deepStrictEqual(take(), entries("a", 1, 2))
        yield* Projection.reset(mail)
      }
    }))

  it.live("following the advice after a restored log repeats nothing", () =>
    Effect.gen(function* () {
      const place = yield* kind.make
      const filename = yield* Temporary.file
      const { define, take } = makeMail(name === "memory" ? "memory" : "tables")
      const open = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        Effect.provide(self, SqliteLayer({ filename }), { local: true })
      yield* Effect.gen(function* () {
        yield* open(Effect.andThen(count("a", 3), Effect.andThen(count("lost", 3), runToEnd(define()))))
        take()
        const db = new DatabaseSync(filename)
        db.exec("DELETE FROM stored_events WHERE position > 3")
        db.exec("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'stored_events'")
        db.close()
        yield* open(count("new", 5))
        const error = yield* open(Effect.flip(ProjectionRunner.run(define())))
        assert.include(error, { _tag: "UpstreamChanged", delivery: "at-least-once", position: at(6), agreed: at(3) })
        assert.include(error.message, "give it a higher version with `from: Position.Position.make(3n)`")
        assert.include(error.message, "Projection.reset would repeat all its effects")
        // a higher version alone continues, and the log is still a different one
        const next = yield* open(Effect.flip(ProjectionRunner.run(define({ version: 2 }))))
        assert.include(next, { _tag: "UpstreamChanged", position: at(6), agreed: at(3) })
        yield* open(runToEnd(define({ version: 3, from: at(3) })))
        assert.deepStrictEqual(take(), entries("new", 0, 1, 2, 3, 4))
      }).pipe(Effect.provide(Layer.merge(place, Logger.layer([]))))
    })
  )
})

it("a definition with an invalid start is refused", () => {
  const define = (from: unknown) =>
    Projection.atLeastOnce("mail", {
      from: from as Projection.Start,
      aggregates: [Counter],
      view: Projection.memory(() => 0),
      handlers: { Counter: { Started: Projection.ignore, Increased: Projection.ignore } }
    })
  for (const from of ["End", 3, -1n, null])
    assert.throws(() => define(from), /from must be "start", "end" or a position/)
  for (const from of ["start", "end", 0n, undefined]) define(from)
})
