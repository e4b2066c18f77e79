/** Views that are rebuilt: beside the old one, or in its place, while runners work and readers read. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Fiber, Logger, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { Position, Projection, ProjectionRunner } from "effect-eventsourcing"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Services } from "./support/harness.ts"
import { inViews } from "./support/harness.ts"
import type { JournalProjection } from "./support/journalView.ts"
import { count, entries, readJournal, setUpJournal, wholeLog } from "./support/journalView.ts"
import { names, until, untilState, watch } from "./support/runnerStates.ts"
import type { Kind } from "./support/viewKinds.ts"
import { changing, kinds } from "./support/viewKinds.ts"

const statuses = (journal: ReturnType<Kind["journal"]>) =>
  Effect.map(Projection.versions(journal), (versions) => versions.map(({ version, status }) => `${version} ${status}`))

describe.concurrent.each(Object.entries(kinds))("rebuilding a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  it.live(
    "G6 a new version is built beside the old one and replaces it once it has caught up: readers see no gap",
    () => {
      const goOn = Deferred.makeUnsafe<void>()
      const holding = changing((store) => ({
        transact: (move, work) =>
          move.key.version === 1
            ? store.transact(move, work)
            : Effect.andThen(Deferred.await(goOn), store.transact(move, work))
      }))
      const switching = Effect.gen(function* () {
        const old = kind.journal()
        const next = kind.journal({ version: 2 })
        yield* count("a", 5)
        const oldRunner = yield* ProjectionRunner.make(old)
        yield* untilState(oldRunner, "Live")

        // reads without end, and never sees less than before
        let reads = 0
        let most = 0
        const reader = yield* Effect.gen(function* () {
          const read = yield* readJournal(next)
          const log = yield* wholeLog
          assert.deepStrictEqual(read, log.slice(0, read.length))
          assert.isAtLeast(read.length, most)
          most = read.length
          reads++
          yield* Effect.yieldNow
        }).pipe(Effect.forever, Effect.forkScoped)
        const moreReads = Effect.suspend(() => {
          const before = reads
          return until(Effect.sync(() => reads > before || reader.pollUnsafe() !== undefined))
        })

        const nextRunner = yield* ProjectionRunner.make(next)
        yield* until(Effect.map(statuses(next), (all) => all.includes("2 building")))
        yield* untilProcessed(next, yield* count("a", 2))
        assert.deepStrictEqual(yield* statuses(next), ["1 current", "2 building"])
        assert.deepStrictEqual(yield* readJournal(next), entries("a", 0, 1, 2, 3, 4, 5, 6))
        yield* Deferred.succeed(goOn, undefined)
        // there are always some more
        yield* Effect.gen(function* () {
          for (let n = 0; (yield* statuses(next))[1] !== "2 current"; n++) {
            yield* count(`b${n % 5}`)
            // about as fast as views are
            yield* Effect.sleep("5 millis")
          }
        })
        yield* untilProcessed(next, yield* count("c"))
        yield* untilState(nextRunner, "Live")
        assert.deepStrictEqual(yield* readJournal(next), yield* wholeLog)
        assert.deepStrictEqual(yield* statuses(next), ["1 retired", "2 current"])
        yield* moreReads
        assert.isUndefined(reader.pollUnsafe())
        yield* Fiber.interrupt(reader)

        // programs that define the old version continue with it
        yield* untilProcessed(old, yield* count("d"))
        assert.deepStrictEqual(yield* readJournal(old), yield* wholeLog)
        yield* untilState(oldRunner, "Live")
        const late = yield* ProjectionRunner.make(old)
        yield* untilState(late, "Standby")
      })
      return inViews(kind, switching, holding)
    }
  )

  it.live("a new version replaces the old one when it has come as far, even if both lag behind the log", () => {
    // the first page is handled, in however many transactions, and the second is not
    const holding = changing((store) => ({
      transact: (move, work) =>
        move.key.version === 2 && (move.from ?? 0n) >= 512n ? Effect.never : store.transact(move, work)
    }))
    return inViews(
      kind,
      Effect.gen(function* () {
        const first = yield* count("a", 3)
        yield* Effect.raceFirst(
          ProjectionRunner.run(kind.journal()),
          until(Effect.map(Projection.versions(kind.journal()), ([version]) => version?.position === first))
        )
        yield* count("a", 600)
        yield* ProjectionRunner.make(kind.journal({ version: 2 }))
        yield* until(Effect.map(statuses(kind.journal()), (all) => all.includes("2 current")))
        assert.strictEqual((yield* readJournal(kind.journal())).length, 3)
        assert.strictEqual((yield* readJournal(kind.journal({ version: 2 }))).length, 512)
      }),
      holding
    )
  })

  test("G12 an old runner continues until its version is removed, and then stops, on a quiet log, too", ({ journal }) =>
    Effect.gen(function* () {
      yield* count("a", 2)
      const runner = yield* ProjectionRunner.make(journal())
      yield* untilState(runner, "Live")
      const next = yield* ProjectionRunner.make(journal({ version: 2 }))
      yield* until(Effect.map(statuses(journal()), (all) => all.includes("2 current")))
      yield* untilProcessed(journal(), yield* count("a"))
      yield* untilProcessed(journal({ version: 2 }), yield* count("a"))
      assert.isTrue(yield* Projection.remove(journal(), 1))
      assert.include(yield* Effect.flip(runner.join), { _tag: "ProjectionSuperseded", version: 1, by: 2 })
      yield* untilState(next, "Live")
    }))

  test("after a roll-back an old version resumes where it was, and is current again when the new one is removed", ({
    journal
  }) =>
    Effect.gen(function* () {
      const [old, next] = [journal(), journal({ version: 2 })]
      const run = <A, E, R>(projection: typeof old, self: Effect.Effect<A, E, R>) =>
        Effect.scoped(Effect.andThen(ProjectionRunner.make(projection), self))
      const first = yield* count("a", 2)
      yield* run(old, untilProcessed(old, first))
      yield* run(next, until(Effect.map(statuses(old), (all) => all.includes("2 current"))))
      yield* run(
        next,
        Effect.flatMap(count("a"), (last) => untilProcessed(next, last))
      )
      // nobody maintains it: it is read as it was left
      assert.include(yield* Projection.progress(old), { version: 1, status: "retired", ready: true, position: first })
      assert.deepStrictEqual(yield* readJournal(old), entries("a", 0, 1))
      yield* run(
        old,
        Effect.gen(function* () {
          yield* untilProcessed(old, yield* count("a"))
          assert.deepStrictEqual(yield* readJournal(old), yield* wholeLog)
          assert.deepStrictEqual(yield* statuses(old), ["1 retired", "2 current"])
          assert.isFalse(yield* Projection.remove(old, 2))
          assert.isTrue(yield* Projection.remove(old, 2, { current: true }))
          assert.deepStrictEqual(yield* statuses(old), ["1 current"])
          yield* untilProcessed(old, yield* count("a"))
          assert.deepStrictEqual(yield* readJournal(old), yield* wholeLog)
        })
      )
      // deployed again, it is rebuilt
      yield* run(next, until(Effect.map(statuses(old), (all) => all.includes("2 current"))))
      assert.deepStrictEqual(yield* readJournal(next), yield* wholeLog)
    }))

  test("one that was overtaken while it was being built is not read before it has caught up", ({ journal }) =>
    Effect.gen(function* () {
      const [first, second, third] = [1, 2, 3].map((version) => journal({ version })) as [
        JournalProjection,
        JournalProjection,
        JournalProjection
      ]
      const last = yield* count("a", 3)
      yield* ProjectionRunner.make(first)
      yield* untilProcessed(first, last)
      const failing = journal({ version: 2, handled: () => Effect.fail("no") })
      const stuck = yield* ProjectionRunner.make(failing, { retry: Schedule.recurs(0) })
      assert.include(yield* Effect.flip(stuck.join), { _tag: "ProjectionFailed" })
      yield* ProjectionRunner.make(third)
      yield* until(Effect.map(statuses(first), (all) => all.includes("3 current")))
      assert.deepStrictEqual(yield* statuses(first), ["1 retired", "2 building", "3 current"])
      assert.include(yield* Projection.progress(second), { version: 3 })
      assert.deepStrictEqual(yield* readJournal(second), yield* wholeLog)
      // once it has caught up, it is the version that is read, but it is not the current one
      yield* ProjectionRunner.make(second)
      yield* until(Effect.map(Projection.progress(second), (one) => one?.version === 2))
      assert.deepStrictEqual(yield* statuses(first), ["1 retired", "2 retired", "3 current"])
      yield* untilProcessed(second, yield* count("a"))
      assert.deepStrictEqual(yield* readJournal(second), yield* wholeLog)
    }))

  it.live("a version that an older version of the library retired is resumed, and read once it has caught up", () => {
    let formerly = true
    const place = changing((store) => ({
      promote: (key, options) => store.promote(key, formerly ? {} : options)
    }))
    return inViews(
      kind,
      Effect.gen(function* () {
        const [old, next] = [kind.journal(), kind.journal({ version: 2 })]
        const last = yield* count("a", 2)
        yield* Effect.scoped(Effect.andThen(ProjectionRunner.make(old), untilProcessed(old, last)))
        yield* ProjectionRunner.make(next)
        yield* until(Effect.map(statuses(old), (all) => all.includes("2 current")))
        assert.include((yield* Projection.versions(old))[0], { status: "retired", ready: false })
        assert.include(yield* Projection.progress(old), { version: 2 })
        formerly = false
        yield* ProjectionRunner.make(old)
        yield* until(Effect.map(Projection.progress(old), (one) => one?.version === 1))
        assert.deepStrictEqual(yield* statuses(old), ["1 retired", "2 current"])
        yield* untilProcessed(old, yield* count("a"))
        assert.deepStrictEqual(yield* readJournal(old), yield* wholeLog)
      }),
      place
    )
  })

  it.effect("reading a version that no runner keeps up to date logs a warning, once a minute", () => {
    const warnings: Array<string> = []
    const logger = Logger.layer([
      Logger.make(({ message }) => {
        if (String(message).includes("not kept up to date")) warnings.push(String(message))
      })
    ])
    const program = Effect.gen(function* () {
      const store = yield* kind.store
      const key = (version: number) => ({ projection: "journal", version, upstream: "log", slice: 0 })
      const at = (n: number) => Position.Position.make(BigInt(n))
      const opening = { mode: "followed", logId: "log-1", aggregates: ["Counter"], setup: setUpJournal } as const
      for (const version of [1, 2]) {
        yield* store.open(key(version), opening)
        yield* store.transact({ key: key(version), from: undefined, to: at(1) }, () => Effect.void)
      }
      yield* store.promote(key(2), { keep: true })
      const readAfter = (seconds: number) =>
        Effect.andThen(TestClock.adjust(seconds * 1000), readJournal(kind.journal()))
      yield* readAfter(20)
      yield* store.transact({ key: key(2), from: at(1), to: at(2) }, () => Effect.void)
      yield* readAfter(0)
      yield* readAfter(9)
      assert.deepStrictEqual(warnings, [])
      yield* readAfter(1)
      yield* readAfter(30)
      assert.strictEqual(warnings.length, 1)
      assert.include(
        warnings[0],
        'version 1 of projection "journal" is being read but not kept up to date: it has been at position 1 for 10 s'
      )
      assert.include(warnings[0], "version 2 is at position 2")
      yield* readAfter(30)
      assert.strictEqual(warnings.length, 2)
      yield* store.transact({ key: key(1), from: at(1), to: at(2) }, () => Effect.void)
      yield* readAfter(60)
      assert.strictEqual(warnings.length, 2)
    })
    return Effect.flatMap(kind.make, (views) => Effect.provide(program, [views, logger]))
  })

  test("on an empty log a new version is promoted at once", ({ journal }) =>
    Effect.gen(function* () {
      yield* untilState(yield* ProjectionRunner.make(journal()), "Live")
      yield* untilState(yield* ProjectionRunner.make(journal({ version: 2 })), "Live")
      assert.deepStrictEqual(yield* statuses(journal()), ["1 retired", "2 current"])
    }))

  test("a new version that fails leaves the old one unchanged, and its runner running", ({ journal }) =>
    Effect.gen(function* () {
      const last = yield* count("a", 3)
      yield* ProjectionRunner.make(journal())
      yield* untilProcessed(journal(), last)
      const next = journal({ version: 2, handled: () => Effect.fail("no") })
      const runner = yield* ProjectionRunner.make(next, { retry: Schedule.recurs(0) })
      assert.include(yield* Effect.flip(runner.join), { _tag: "ProjectionFailed" })
      yield* untilProcessed(next, yield* count("a"))
      assert.deepStrictEqual(yield* readJournal(next), yield* wholeLog)
      assert.deepStrictEqual(yield* statuses(next), ["1 current", "2 building"])
      // to be rebuilt with the bug fixed, under the same version number
      assert.isTrue(yield* Projection.remove(next, 2))
      yield* ProjectionRunner.make(journal({ version: 2 }))
      yield* until(Effect.map(statuses(next), (all) => all.includes("2 current")))
      assert.deepStrictEqual(yield* readJournal(next), yield* wholeLog)
    }))

  test("G6 reset in place while its runner works, on a quiet log: it rebuilds the view", ({ journal }) =>
    Effect.gen(function* () {
      let calls = 0
      const projection = journal({ handled: () => Effect.sync(() => calls++) })
      const last = yield* count("a", 4)
      const runner = yield* ProjectionRunner.make(projection)
      yield* untilState(runner, "Live")
      const states = yield* watch(runner)
      yield* Projection.reset(projection)
      yield* untilProcessed(projection, last)
      assert.strictEqual(calls, 8)
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      yield* until(Effect.sync(() => states.at(-1)?._tag === "Live"))
      assert.notInclude(names(states), "Stopped")
    }))

  test("G6 reset in place repeatedly while events arrive", ({ journal }) =>
    Effect.gen(function* () {
      const projection = journal({ handled: () => Effect.yieldNow })
      yield* ProjectionRunner.make(projection, { maxBatch: 3 })
      const writing = yield* Effect.forkChild(
        Effect.repeat(Effect.andThen(count("a", 2), Effect.sleep("4 millis")), { times: 40 })
      )
      yield* untilProcessed(projection, yield* count("b"))
      yield* Effect.repeat(Effect.andThen(Projection.reset(projection), Effect.sleep("30 millis")), { times: 4 })
      yield* Fiber.join(writing)
      yield* untilProcessed(projection, yield* count("b"))
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
    }))

  test("a version that is no longer read is removed, the current one is not", ({ journal }) =>
    Effect.gen(function* () {
      yield* count("a", 2)
      yield* untilState(yield* ProjectionRunner.make(journal()), "Live")
      yield* ProjectionRunner.make(journal({ version: 2 }))
      yield* until(Effect.map(statuses(journal()), (all) => all.includes("2 current")))
      assert.isFalse(yield* Projection.remove(journal(), 2))
      assert.isFalse(yield* Projection.remove(journal(), 3))
      assert.isTrue(yield* Projection.remove(journal(), 1))
      assert.isFalse(yield* Projection.remove(journal(), 1))
      assert.deepStrictEqual(yield* statuses(journal()), ["2 current"])
      assert.deepStrictEqual(yield* readJournal(journal()), yield* wholeLog)
      // starting it again is still refused
      const late = yield* ProjectionRunner.make(journal())
      assert.include(yield* Effect.flip(late.join), { _tag: "ProjectionSuperseded", by: 2 })
    }))

  test("reading a projection without a view fails with an error that says so", ({ journal }) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(readJournal(journal()))
      assert.include(error, { _tag: "ViewNotFound" })
      assert.include((error as Error).message, "start its runner")
    }))
})
