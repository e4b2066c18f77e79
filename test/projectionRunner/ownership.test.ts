/** Several runners of one projection: one works, the others stand by, and if two work, each event takes effect once. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Layer, Logger, Scope as Scopes } from "effect"
import { TestClock } from "effect/testing"
import type { Ownership, View } from "effect-eventsourcing"
import { EventSourcingError, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import type { Services } from "../projection/support/harness.ts"
import { inViews } from "../projection/support/harness.ts"
import type { JournalProjection } from "../projection/support/journalView.ts"
import { count, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { names, until, untilState, watch } from "../projection/support/runnerStates.ts"
import type { Kind } from "../projection/support/viewKinds.ts"
import { changing, kinds } from "../projection/support/viewKinds.ts"
import { Dog } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

/** Starts a runner in a scope that a test closes. */
const start = Effect.fnUntraced(function* (projection: JournalProjection, options: ProjectionRunner.Options = {}) {
  const scope = yield* Scopes.fork(yield* Effect.scope)
  const runner = yield* Scopes.provide(ProjectionRunner.make(projection, options), scope)
  return { ...runner, close: Scopes.close(scope, Exit.void) }
})

/** Leases that are never released, as those of a process that was killed. */
const vanishing = changing((store) => ({
  lease: (key, holder, milliseconds) =>
    milliseconds === 0 ? Effect.succeed(false) : store.lease(key, holder, milliseconds)
}))

/** Believes that it is the owner, whatever others do. */
const always: Ownership.Ownership = { whileOwner: (_key, self) => self }

describe.concurrent.each(Object.entries(kinds))("runners with a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  test("G6 G12 one works and the others are on standby; when it ends, another takes over", ({ journal }) =>
    Effect.gen(function* () {
      const handled: Array<string> = []
      const of = (who: string) => journal({ handled: () => Effect.sync(() => handled.push(who)) })
      const one = yield* start(of("one"))
      yield* untilState(one, "Live")
      const two = yield* start(of("two"))
      yield* untilState(two, "Standby")
      yield* untilProcessed(journal(), yield* count("a", 3))
      assert.deepStrictEqual(handled, ["one", "one", "one"])
      yield* one.close
      assert.strictEqual((yield* untilState(one, "Stopped")).error, "interrupted")
      yield* untilState(two, "Live")
      yield* untilProcessed(journal(), yield* count("a", 2))
      assert.deepStrictEqual(handled, ["one", "one", "one", "two", "two"])
      const three = yield* start(of("three"))
      yield* untilState(three, "Standby")
      assert.deepStrictEqual(yield* readJournal(journal()), yield* wholeLog)
    }))

  it.live("G6 one that vanishes keeps its lease until it expires, and no longer", () =>
    inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        const one = yield* start(projection, { lease: "400 millis" })
        yield* untilState(one, "Live")
        const two = yield* start(projection, { lease: "400 millis" })
        yield* untilState(two, "Standby")
        yield* one.close
        yield* untilState(two, "Live")
        yield* untilProcessed(projection, yield* count("a", 3))
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      }),
      vanishing
    )
  )

  test("G6 two that both believe they are the owner: each event takes effect once", ({ journal }) =>
    Effect.gen(function* () {
      // so that each is often in the middle of a batch while the other works
      const projection = journal({ handled: () => Effect.yieldNow })
      yield* count("before", 30)
      const runners = yield* Effect.forEach([1, 2, 3], () => start(projection, { ownership: always, maxBatch: 4 }))
      for (let n = 0; n < 20; n++) yield* count(`while ${n % 3}`, 1 + (n % 3))
      yield* untilProcessed(projection, yield* count("last"))
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      for (const runner of runners) yield* untilState(runner, "Live")
    }))

  it.live("G6 one whose lease another has taken stops in the middle of its work, and goes on standby", () => {
    let isTaken = false
    const taking = changing((store) => ({
      lease: (key, holder, milliseconds) =>
        Effect.suspend(() =>
          isTaken && milliseconds > 0 ? Effect.succeed(false) : store.lease(key, holder, milliseconds)
        )
    }))
    return inViews(
      kind,
      Effect.gen(function* () {
        const reached = yield* Deferred.make<void>()
        let isHeld = true
        const projection = kind.journal({
          handled: () => (isHeld ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never) : Effect.void)
        })
        const last = yield* count("a", 3)
        const runner = yield* start(projection, { lease: "150 millis" })
        const states = yield* watch(runner)
        yield* Deferred.await(reached)
        isTaken = true
        yield* untilState(runner, "Standby")
        assert.deepStrictEqual(yield* readJournal(projection), [])
        isHeld = false
        isTaken = false
        yield* untilProcessed(projection, last)
        yield* untilState(runner, "Live")
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
        assert.notInclude(names(states), "Stopped")
      }),
      taking
    )
  })

  test("G6 a handler that takes longer than the lease is not interrupted by that", ({ journal }) =>
    Effect.gen(function* () {
      let calls = 0
      const projection = journal({
        handled: () =>
          Effect.andThen(
            Effect.sync(() => calls++),
            Effect.sleep("350 millis")
          )
      })
      const runner = yield* start(projection, { lease: "100 millis" })
      yield* untilState(runner, "Live")
      const states = yield* watch(runner)
      yield* untilProcessed(projection, yield* count("a"))
      assert.strictEqual(calls, 1)
      assert.deepStrictEqual(names(states), ["Live"])
    }))

  it.live("G12 if the owner can't be determined, it reports that, and retries", () => {
    let isGone = true
    const gone = new EventSourcingError.RecorderUnavailable({ operation: "take a lease", reason: "not now" })
    const failing = changing((store) => ({
      lease: (...lease) => Effect.suspend(() => (isGone ? Effect.fail(gone) : store.lease(...lease)))
    }))
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        const runner = yield* start(projection)
        const { cause, nextAttempt } = yield* untilState(runner, "Retrying")
        assert.strictEqual(cause, gone)
        assert.isTrue(nextAttempt > 0)
        isGone = false
        yield* untilState(runner, "Live")
        yield* untilProcessed(projection, yield* count("a"))
      }),
      failing
    )
  })
})

it.live.each(["memory", "SQLite", "PostgreSQL"] as const)(
  "in %s two definitions of one name are refused, and standby is logged once",
  (of) => {
    const kind = kinds[of]
    const lines: Array<string> = []
    const Lines = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])
    return inViews(
      kind,
      Effect.gen(function* () {
        const one = kind.journal()
        const running = yield* start(one)
        yield* untilState(running, "Live")
        // a copied projection whose name was not changed
        const ignored = { Registered: Projection.ignore, TrickAdded: Projection.ignore, Rested: Projection.ignore }
        const definition = { aggregates: [Dog], handlers: { Dog: ignored } } as const
        const refused = (copy: Projection.Followed<View.Sql<never> | View.Memory<number>, "exactly-once", never>) =>
          Effect.gen(function* () {
            const position = yield* count("a")
            const running = Effect.flatMap(ProjectionRunner.make(copy), ({ join }) => join)
            const waiting = Projection.wait(copy, position, { timeout: 0 })
            const reading = Projection.read(copy, () => Effect.void)
            const uses = [
              Effect.flip(running),
              Effect.flip(waiting),
              Effect.flip(reading),
              Effect.flip(Projection.reset(copy)),
              Effect.flip(Projection.replay(copy))
            ]
            for (const use of uses) {
              const error = yield* use
              assert.include(error, { _tag: "RecorderFailure" })
              assert.include(error.message, "two different definitions")
            }
          })
        yield* of === "memory"
          ? refused(Projection.make("journal", { ...definition, view: Projection.memory(() => 0) }))
          : refused(Projection.make("journal", { ...definition, view: Projection.sql(() => Effect.void) }))
        // this does not concern those who wait for the runner that works
        yield* untilProcessed(one, yield* count("a"))

        // the same definition, evaluated again
        const other = yield* start(kind.journal(), { lease: "200 millis" })
        yield* untilState(other, "Standby")
        yield* Effect.sleep("300 millis")
        assert.lengthOf(
          lines.filter((line) => line.includes("is on standby")),
          1
        )
        yield* running.close
        yield* untilState(other, "Live")
        yield* other.close
      }).pipe(Effect.provide(Lines))
    )
  }
)

describe("the time of a lease", () => {
  it.effect("G6 another takes over within a second of its end, and not before it", () =>
    Effect.gen(function* () {
      const { journal, make } = kinds.memory
      const views = Layer.provide(vanishing, yield* make)
      yield* Effect.gen(function* () {
        const one = yield* start(journal(), { lease: "6 seconds" })
        yield* untilState(one, "Live")
        const two = yield* start(journal(), { lease: "6 seconds" })
        const states = yield* watch(two)
        // renewed every two seconds: however long it works, no other runner takes over
        yield* TestClock.adjust("60 seconds")
        assert.deepStrictEqual(names(states), ["Standby"])
        yield* one.close
        yield* TestClock.adjust("3900 millis")
        assert.deepStrictEqual(names(states), ["Standby"])
        yield* TestClock.adjust("3100 millis")
        yield* until(Effect.as(Effect.yieldNow, states.at(-1)?._tag === "Live"))
      }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(MemoryLayer(), views, Logger.layer([]))))
    })
  )
})
