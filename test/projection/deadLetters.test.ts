/**
 * Events that are set aside: later events of the stream wait, other streams continue, and replay completes the view.
 */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Exit, Fiber, Schedule, Schema, Scope as Scopes } from "effect"
import type { ProjectionRunner as Runner } from "effect-eventsourcing"
import {
  Aggregate,
  EventSourcingError,
  EventStore,
  LogReader,
  Projection,
  ProjectionRunner,
  Recorder
} from "effect-eventsourcing"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { temporaryDirectory } from "../support/backends.ts"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Services } from "./support/harness.ts"
import { inViews, silent } from "./support/harness.ts"
import type { Entry, Handled, JournalProjection } from "./support/journalView.ts"
import { count, entries, readJournal, wholeLog } from "./support/journalView.ts"
import { names, untilState, watch } from "./support/runnerStates.ts"
import type { Kind } from "./support/viewKinds.ts"
import { kinds } from "./support/viewKinds.ts"

const setAside = { onFailure: "set-aside", retry: Schedule.recurs(1) } as const satisfies Runner.Options

/** A handler that fails on some events, as long as they are in the set. */
const failingOn = (...entries: ReadonlyArray<Entry>) => {
  const failing = new Set(entries)
  const attempts: Array<Entry> = []
  const handled = ({ entry }: Handled) =>
    Effect.suspend(() => {
      if (!failing.has(entry)) return Effect.void
      attempts.push(entry)
      return Effect.fail(new Error(`${entry} is refused`))
    })
  return { failing, attempts, handled }
}

/** The dead letters, in short form. */
const letters = (projection: JournalProjection) =>
  Effect.map(Projection.deadLetters(projection), (letters) =>
    letters.map(({ stream, streamVersion, attempts }) => `${stream} ${streamVersion}, tried ${attempts}`)
  )

const ofStream = (name: string, journal: ReadonlyArray<Entry>) =>
  journal.filter((entry) => entry.startsWith(`Counter-${name} `))

describe.concurrent.each(Object.entries(kinds))("dead letters of a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  test("G6 G8 later events of its stream wait, other streams continue, and a replay handles the events in order", ({
    journal
  }) =>
    Effect.gen(function* () {
      const { failing, handled } = failingOn("Counter-a 1")
      const projection = journal({ handled })
      yield* count("a", 4)
      // more than nine events are between the letters: they are ordered by number, not as text
      yield* count("b", 8)
      const runner = yield* ProjectionRunner.make(projection, setAside)
      const states = yield* watch(runner)
      yield* untilState(runner, "Live")
      const last = yield* count("a", 2)
      yield* untilProcessed(projection, last)
      const versions = Array.from({ length: 8 }, (_, n) => n)
      assert.deepStrictEqual(yield* readJournal(projection), [...entries("a", 0), ...entries("b", ...versions)])
      assert.deepStrictEqual(yield* letters(projection), [
        "Counter-a 1, tried 2",
        ...[2, 3, 4, 5].map((version) => `Counter-a ${version}, tried 0`)
      ])
      const [letter, next] = yield* Projection.deadLetters(projection)
      const [, stored] = yield* Effect.flatMap(Recorder.Recorder, (recorder) =>
        recorder.readStream({ stream: Counter.stream(Counter.Id.make("a")), limit: 2 })
      )
      assert.deepInclude(letter as object, {
        ...{ position: stored?.position, stream: "Counter-a", streamVersion: 1 },
        ...{ eventId: stored?.id, type: "Counter.Increased", cause: "Counter-a 1 is refused", attempts: 2 }
      })
      assert.isTrue(Math.abs((letter?.setAsideAt ?? 0) - Date.now()) < 60_000)
      assert.include(next?.cause, "an earlier event of its stream")
      assert.notInclude(names(states), "Stopped")

      failing.clear()
      assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: 5, left: [] })
      assert.deepStrictEqual(ofStream("a", yield* readJournal(projection)), entries("a", 0, 1, 2, 3, 4, 5))
      assert.deepStrictEqual(yield* letters(projection), [])
      assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: 0, left: [] })

      // the runner has continued all the time, and does not wait for a letter that is gone
      yield* untilProcessed(projection, yield* count("a", 2))
      assert.deepStrictEqual(ofStream("a", yield* readJournal(projection)), entries("a", 0, 1, 2, 3, 4, 5, 6, 7))
      assert.deepStrictEqual(yield* letters(projection), [])
    }))

  test("G6 an event that fails again on replay stays set aside, with all after it; other streams are replayed", ({
    journal
  }) =>
    Effect.gen(function* () {
      const { failing, handled } = failingOn("Counter-a 1", "Counter-a 3", "Counter-b 0")
      const projection = journal({ handled })
      yield* count("a", 5)
      const last = yield* count("b", 2)
      yield* ProjectionRunner.make(projection, setAside)
      yield* untilProcessed(projection, last)
      failing.delete("Counter-a 1")
      const { replayed, left } = yield* Projection.replay(projection, { stream: "Counter-a" })
      assert.strictEqual(replayed, 2)
      assert.deepStrictEqual(
        left.map(({ streamVersion, attempts, cause }) => [streamVersion, attempts, cause]),
        [
          [3, 1, "Counter-a 3 is refused"],
          [4, 0, "an earlier event of its stream is set aside"]
        ]
      )
      assert.deepStrictEqual(yield* readJournal(projection), entries("a", 0, 1, 2))
      failing.delete("Counter-b 0")
      assert.strictEqual((yield* Projection.replay(projection)).replayed, 2)
      assert.deepStrictEqual(yield* letters(projection), ["Counter-a 3, tried 2", "Counter-a 4, tried 0"])
      failing.clear()
      assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: 2, left: [] })
      const journal_ = yield* readJournal(projection)
      assert.deepStrictEqual(ofStream("a", journal_), entries("a", 0, 1, 2, 3, 4))
      assert.deepStrictEqual(ofStream("b", journal_), entries("b", 0, 1))
    }))

  test("G6 replays while the runner works: each event takes effect once, in the order of its stream", ({ journal }) =>
    Effect.gen(function* () {
      // each of them fails the first time
      const seen = new Set<Entry>()
      const handled = ({ entry, position }: Handled) =>
        Effect.suspend(() => {
          if (position % 4n !== 0n || seen.has(entry)) return Effect.yieldNow
          seen.add(entry)
          return Effect.fail("the first time")
        })
      const projection = journal({ handled })
      yield* ProjectionRunner.make(projection, { ...setAside, retry: Schedule.recurs(0), maxBatch: 3 })
      const replaying = yield* Effect.forkScoped(
        Effect.forever(Effect.andThen(Projection.replay(projection), Effect.sleep("3 millis")))
      )
      const streams = ["a", "b", "c"]
      yield* Effect.forEach(
        streams,
        (name) => Effect.repeat(Effect.andThen(count(name), Effect.sleep("2 millis")), { times: 24 }),
        { concurrency: "unbounded" }
      )
      yield* untilProcessed(projection, yield* count("d"))
      assert.isTrue(seen.size > 5)
      yield* Fiber.interrupt(replaying)
      while ((yield* Projection.replay(projection)).left.length > 0) yield* Effect.yieldNow
      const journal_ = yield* readJournal(projection)
      const versions = Array.from({ length: 25 }, (_, n) => n)
      for (const name of streams) assert.deepStrictEqual(ofStream(name, journal_), entries(name, ...versions))
      assert.strictEqual(journal_.length, 3 * 25 + 1)
    }))

  test("G6 later events of the stream are set aside after a restart, too", ({ journal }) =>
    Effect.gen(function* () {
      const { failing, handled } = failingOn("Counter-a 1")
      const projection = journal({ handled })
      const scope = yield* Scopes.make()
      yield* Scopes.provide(ProjectionRunner.make(projection, setAside), scope)
      yield* untilProcessed(projection, yield* count("a", 2))
      yield* Scopes.close(scope, Exit.void)
      failing.clear()
      yield* ProjectionRunner.make(projection, { onFailure: "stop" })
      const last = yield* count("a", 1)
      yield* count("b", 1)
      yield* untilProcessed(projection, last)
      assert.deepStrictEqual(yield* letters(projection), ["Counter-a 1, tried 2", "Counter-a 2, tried 0"])
      assert.strictEqual((yield* Projection.replay(projection)).replayed, 2)
      assert.deepStrictEqual(ofStream("a", yield* readJournal(projection)), entries("a", 0, 1, 2))
    }))

  test("G8 events that can't be read are set aside, without any of their content", ({ journal }) =>
    Effect.gen(function* () {
      const secret = "4711-0815-secret"
      /** The aggregate as a newer version of the program defines it. */
      const Newer = Aggregate.make("Counter", {
        state: Schema.Int,
        creation: { Started: {} },
        events: { Increased: { to: Schema.String } },
        reduce: { Started: () => 0, Increased: () => 0 }
      })
      const store = yield* EventStore.EventStore
      const recorder = yield* Recorder.Recorder
      const id = (name: string) => Newer.Id.make(name)
      yield* store.append(Newer, id("incompatible"), {
        expected: "NoStream",
        events: [Newer.Started(), Newer.Increased({ to: secret })]
      })
      yield* store.append(Newer, id("damaged"), { expected: "NoStream", events: [Newer.Started()] })
      const [started] = yield* recorder.readStream({ stream: Newer.stream(id("damaged")), limit: 1 })
      const { type: _type, ...same } = started as NonNullable<typeof started>
      yield* recorder.append({
        stream: Newer.stream(id("damaged")),
        expected: 0,
        events: [
          {
            ...{ id: crypto.randomUUID(), type: "Counter.Increased", schemaVersion: 1, encoding: same.encoding },
            ...{ payload: `{"to": ${secret}`, metadata: same.metadata, recordedAt: same.recordedAt }
          }
        ]
      })
      const projection = journal()
      yield* ProjectionRunner.make(projection, setAside)
      // after one that can't be read, a later event of its stream is set aside without an attempt
      yield* store.append(Newer, id("incompatible"), { expected: 1, events: [Newer.Increased({ to: secret })] })
      yield* untilProcessed(projection, yield* count("fine", 2))
      const found = yield* Projection.deadLetters(projection)
      assert.deepStrictEqual(
        found.map(({ stream, streamVersion, type, attempts }) => [stream, streamVersion, type, attempts]),
        [
          ["Counter-incompatible", 1, "Counter.Increased", 2],
          ["Counter-damaged", 1, "Counter.Increased", 2],
          ["Counter-incompatible", 2, "Counter.Increased", 0]
        ]
      )
      for (const { cause } of found) {
        assert.notInclude(cause, "4711")
        assert.notInclude(cause, "secret")
      }
      assert.include(found[0]?.cause, "can't be decoded")
      assert.deepStrictEqual(yield* readJournal(projection), [
        ...entries("incompatible", 0),
        ...entries("damaged", 0),
        ...entries("fine", 0, 1)
      ])
      const again = yield* Projection.replay(projection)
      assert.strictEqual(again.replayed, 0)
      assert.deepStrictEqual(
        again.left.map(({ attempts }) => attempts),
        [3, 3, 0]
      )
      for (const { cause } of again.left) assert.notInclude(cause, "4711")
    }))

  test("G8 without that policy, an event that can't be decoded stops the runner", ({ journal }) =>
    Effect.gen(function* () {
      const Newer = Aggregate.make("Counter", {
        state: Schema.Int,
        creation: { Started: {} },
        events: { Renamed: {} },
        reduce: { Started: () => 0, Renamed: () => 0 }
      })
      const store = yield* EventStore.EventStore
      yield* store.append(Newer, Newer.Id.make("a"), {
        expected: "NoStream",
        events: [Newer.Started(), Newer.Renamed()]
      })
      yield* count("b", 2)
      const runner = yield* ProjectionRunner.make(journal(), { retry: Schedule.recurs(0) })
      const error = yield* Effect.flip(runner.join)
      assert.include(error, { _tag: "ProjectionFailed", stream: "Counter-a", version: 1, attempts: 1 })
      assert.include(error._tag === "ProjectionFailed" ? error.cause : undefined, {
        _tag: "UnknownEventType",
        type: "Counter.Renamed"
      })
      assert.deepStrictEqual(yield* readJournal(journal()), entries("a", 0))
      assert.deepStrictEqual(yield* Projection.deadLetters(journal()), [])
    }))

  test("a replay that can't reach log or view reports it, and does not count as an attempt", ({ journal }) =>
    Effect.gen(function* () {
      const { failing, handled } = failingOn("Counter-a 0")
      let outage: Effect.Effect<void, unknown> = Effect.void
      const projection = journal({
        handled: (event) =>
          Effect.andThen(
            handled(event),
            Effect.suspend(() => outage)
          )
      })
      yield* ProjectionRunner.make(projection, setAside)
      yield* untilProcessed(projection, yield* count("a"))
      failing.clear()
      const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "ask", reason: "not now" })
      outage = Effect.fail(unavailable)
      assert.include(yield* Effect.flip(Projection.replay(projection)), { _tag: "RecorderUnavailable" })
      outage = Effect.void
      const recorder = yield* Recorder.Recorder
      const cutOff = { ...recorder, readStream: () => Effect.fail(unavailable) }
      const replay = Effect.provideService(Projection.replay(projection), LogReader.LogReader, cutOff)
      assert.include(yield* Effect.flip(replay), { _tag: "RecorderUnavailable" })
      assert.deepStrictEqual(yield* letters(projection), ["Counter-a 0, tried 2"])
      assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: 1, left: [] })
    }))

  test("discarded events take no effect, and their stream continues", ({ journal }) =>
    Effect.gen(function* () {
      const { handled } = failingOn("Counter-a 1", "Counter-b 0")
      const projection = journal({ handled })
      yield* count("a", 3)
      const last = yield* count("b", 2)
      yield* ProjectionRunner.make(projection, setAside)
      yield* untilProcessed(projection, last)
      const [first] = yield* Projection.deadLetters(projection)
      assert.strictEqual(yield* Projection.discard(projection, { stream: "Counter-b" }), 2)
      assert.strictEqual(yield* Projection.discard(projection, { stream: "Counter-c" }), 0)
      assert.strictEqual(yield* Projection.discard(projection, { eventId: first?.eventId ?? "" }), 1)
      // events after the discarded one are still set aside, and now replay can process them
      yield* untilProcessed(projection, yield* count("a"))
      yield* untilProcessed(projection, yield* count("b"))
      assert.deepStrictEqual(yield* letters(projection), ["Counter-a 2, tried 0", "Counter-a 3, tried 0"])
      assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: 2, left: [] })
      const taken = yield* readJournal(projection)
      assert.deepStrictEqual(ofStream("a", taken), entries("a", 0, 2, 3))
      assert.deepStrictEqual(ofStream("b", taken), entries("b", 2))
    }))

  test("G10 an interrupted replay sets nothing aside again, and loses nothing", ({ journal }) =>
    Effect.gen(function* () {
      const { failing, handled } = failingOn("Counter-a 0")
      let hold: Effect.Effect<void> = Effect.void
      const projection = journal({ handled: (event) => Effect.andThen(handled(event), hold) })
      yield* ProjectionRunner.make(projection, setAside)
      yield* untilProcessed(projection, yield* count("a", 2))
      failing.clear()
      let reached = false
      hold = Effect.suspend(() => {
        reached = true
        return Effect.never
      })
      const replaying = yield* Effect.forkChild(Projection.replay(projection))
      while (!reached) yield* Effect.sleep("1 millis")
      yield* Fiber.interrupt(replaying)
      assert.deepStrictEqual(yield* letters(projection), ["Counter-a 0, tried 2", "Counter-a 1, tried 0"])
      hold = Effect.void
      assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: 2, left: [] })
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
    }))
})

describe.concurrent.each(Object.entries(kinds))("dead letters of a stream that was erased, in %s", (_, kind) => {
  for (const fails of [false, true]) {
    it.live(
      `a stream that begins again does not wait for the dead letters of the old one${fails ? ", also if it fails again" : ""}`,
      () =>
        Effect.gen(function* () {
          const filename = `${yield* temporaryDirectory}/log.db`
          const views = yield* kind.make
          yield* Effect.gen(function* () {
            const { failing, handled } = failingOn("Counter-a 0")
            const projection = kind.journal({ handled })
            yield* ProjectionRunner.make(projection, setAside)
            yield* untilProcessed(projection, yield* count("a", 3))
            assert.strictEqual((yield* letters(projection)).length, 3)
            const db = new DatabaseSync(filename)
            db.exec("DELETE FROM stored_events WHERE stream = 'Counter-a'")
            db.close()
            if (!fails) failing.clear()
            yield* untilProcessed(projection, yield* count("a", 2))
            assert.deepStrictEqual(yield* readJournal(projection), fails ? [] : entries("a", 0, 1))
            assert.deepStrictEqual(
              yield* letters(projection),
              fails ? ["Counter-a 0, tried 2", "Counter-a 1, tried 0"] : []
            )
            failing.clear()
            assert.deepStrictEqual(yield* Projection.replay(projection), { replayed: fails ? 2 : 0, left: [] })
            yield* untilProcessed(projection, yield* count("a"))
            assert.deepStrictEqual(yield* readJournal(projection), entries("a", 0, 1, 2))
          }).pipe(Effect.scoped, Effect.provide([SqliteLayer({ filename }), views, silent]))
        })
    )
  }
})
