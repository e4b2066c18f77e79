/** What happens to a view when handlers, databases and processes fail: afterwards it is as if nothing had failed. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Layer, Schedule, Scope as Scopes } from "effect"
import { EventSourcingError, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { connect } from "../postgres/support/database.ts"
import type { Services } from "../projection/support/harness.ts"
import { inViews } from "../projection/support/harness.ts"
import type { Handled } from "../projection/support/journalView.ts"
import { count, entries, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { names, until, untilState, watch } from "../projection/support/runnerStates.ts"
import type { Kind } from "../projection/support/viewKinds.ts"
import { kinds, watching } from "../projection/support/viewKinds.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

/** What a handler does on one event the first few times; after that, nothing more. */
const first = (entry: string, times: number, does: () => Effect.Effect<unknown, unknown>) => {
  const calls = { count: 0 }
  const handled = (event: Handled) => {
    if (event.entry !== entry) return Effect.void
    calls.count++
    return calls.count <= times ? does() : Effect.void
  }
  return { calls, handled }
}

const [third] = entries("a", 2) as [string]

const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "ask", reason: "not now" })

/** Immediately, this many times. */
const again = (times: number) => ({ retry: Schedule.recurs(times) })

describe.concurrent.each(Object.entries(kinds))("a runner with a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  const failures = {
    fails: () => Effect.fail("no"),
    "has a defect": () => Effect.die(new Error("no")),
    throws: (): Effect.Effect<void> => {
      throw new Error("no")
    }
  }
  for (const [how, failure] of Object.entries(failures)) {
    for (const isCatchingUp of [true, false]) {
      test(`G6 a handler that ${how} a few times, ${isCatchingUp ? "catching up" : "live"}: each event takes effect once`, ({
        journal
      }) =>
        Effect.gen(function* () {
          const { calls, handled } = first(third, 3, failure)
          const projection = journal({ handled })
          if (isCatchingUp) yield* count("a", 5)
          const runner = yield* ProjectionRunner.make(projection, again(2))
          yield* untilState(runner, "Live")
          const last = yield* isCatchingUp ? count("b") : count("a", 5)
          yield* untilProcessed(projection, last)
          assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
          // with the batch, and three times alone
          assert.strictEqual(calls.count, 4)
        }))
    }

    test(`G12 a handler that ${how} always: earlier events have taken effect, and the runner stops with the reason`, ({
      journal
    }) =>
      Effect.gen(function* () {
        const { calls, handled } = first(third, Number.POSITIVE_INFINITY, failure)
        const last = yield* count("a", 5)
        const runner = yield* ProjectionRunner.make(journal({ handled }), again(2))
        const states = yield* watch(runner)
        const error = yield* Effect.flip(runner.join)
        assert.include(error, {
          ...{ _tag: "ProjectionFailed", projection: "journal", stream: "Counter-a", version: 2 },
          ...{ type: "Counter.Increased", attempts: 3 }
        })
        assert.include(error.message, 'failed on event 2 of stream "Counter-a" (Counter.Increased)')
        assert.include(error.message, "after 3 attempts: no")
        assert.strictEqual(calls.count, 4)
        yield* until(Effect.sync(() => states.at(-1)?._tag === "Stopped"))
        assert.deepStrictEqual(states.at(-1), { _tag: "Stopped", error })
        assert.deepStrictEqual(yield* readJournal(journal()), entries("a", 0, 1))

        const behind = yield* Effect.flip(Projection.wait(journal(), last, { timeout: 0 }))
        assert.include(behind, { _tag: "ProjectionBehind", stopped: error.message })
        // others may continue it, but the wait is limited
        const endless = yield* Effect.flip(Projection.wait(journal(), last, { timeout: "Infinity" }))
        assert.include(endless, { _tag: "ProjectionBehind", stopped: error.message, waited: 1000 })

        // the handler is fixed, and the program started again
        yield* ProjectionRunner.make(journal())
        yield* untilProcessed(journal(), last)
        assert.deepStrictEqual(yield* readJournal(journal()), yield* wholeLog)
      }))
  }

  test("G12 the error of a wait for a blocked view names the event that blocks it", ({ journal }) =>
    Effect.gen(function* () {
      // with the batch, and alone
      const { handled } = first(third, 2, () => Effect.fail("no"))
      const projection = journal({ handled })
      const last = yield* count("a", 5)
      const runner = yield* ProjectionRunner.make(projection, { retry: Schedule.spaced("500 millis") })
      yield* untilState(runner, "Blocked")
      const behind = yield* Effect.flip(Projection.wait(projection, last, { timeout: 0 }))
      const blocked = 'a handler failed once on event 2 of stream "Counter-a" (Counter.Increased): no'
      assert.include(behind, { _tag: "ProjectionBehind", stopped: undefined, blocked })
      assert.include(behind.message, `in this process ${blocked}`)
      yield* untilProcessed(projection, last)
    }))

  test("G12 while it retries, its state shows on which event, why, how often and when", ({ journal }) =>
    Effect.gen(function* () {
      const { handled } = first(third, 2, () => Effect.fail("no"))
      const runner = yield* ProjectionRunner.make(journal({ handled }), { retry: Schedule.spaced("20 millis") })
      yield* untilState(runner, "Live")
      const states = yield* watch(runner)
      const last = yield* count("a", 2)
      yield* untilProcessed(journal(), last)
      const began = Date.now()
      const { position } = { position: yield* count("a", 1) }
      yield* untilProcessed(journal(), position)
      yield* until(Effect.sync(() => states.at(-1)?._tag === "Live"))
      const blocked = states.filter((state) => state._tag === "Blocked")
      assert.deepStrictEqual(
        blocked.map(({ attempts, cause, event }) => ({ attempts, cause, event })),
        [1, 2].map((attempts) => ({
          ...{ attempts, cause: "no" },
          event: { position, stream: "Counter-a", version: 2, type: "Counter.Increased" }
        }))
      )
      for (const { nextAttempt } of blocked) {
        assert.isTrue(nextAttempt >= began + 20 && nextAttempt <= Date.now() + 20)
      }
      assert.deepStrictEqual(names(states.slice(-4)), ["Live", "Blocked", "Live"])
    }))

  test("G6 G12 transient failures are retried indefinitely, whatever the policy for failures", ({ journal }) =>
    Effect.gen(function* () {
      const { calls, handled } = first(third, 4, () => Effect.fail(unavailable))
      let outages = 0
      const projection = journal({
        handled: (event) => Effect.suspend(() => (outages-- > 0 ? Effect.fail(unavailable) : handled(event)))
      })
      const last = yield* count("a", 5)
      const began = Date.now()
      const runner = yield* ProjectionRunner.make(projection, { ...again(0), onFailure: "set-aside" })
      const { attempts, cause, nextAttempt } = yield* untilState(runner, "Retrying")
      assert.include(cause as object, { _tag: "RecorderUnavailable" })
      assert.strictEqual(attempts, 1)
      assert.isTrue(nextAttempt >= began)
      yield* untilProcessed(projection, last)
      assert.strictEqual(calls.count, 5)
      // also of one that arrives alone
      outages = 3
      yield* untilProcessed(projection, yield* count("b"))
      assert.isBelow(outages, 0)
      assert.deepStrictEqual(yield* Projection.deadLetters(projection), [])
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      yield* untilState(runner, "Live")
    }))

  test("G10 G6 interrupted in the middle of a handler it has done nothing, and the next one does everything", ({
    journal
  }) =>
    Effect.gen(function* () {
      const reached = yield* Deferred.make<void>()
      const { handled } = first(third, 1, () => Effect.andThen(Deferred.succeed(reached, undefined), Effect.never))
      const projection = journal({ handled })
      const last = yield* count("a", 5)
      const scope = yield* Scopes.make()
      const runner = yield* Scopes.provide(ProjectionRunner.make(projection, { lease: "1 hour" }), scope)
      yield* Deferred.await(reached)
      yield* Scopes.close(scope, Exit.void)
      assert.deepStrictEqual(yield* untilState(runner, "Stopped"), { _tag: "Stopped", error: "interrupted" })
      assert.deepStrictEqual(yield* readJournal(projection), [])
      assert.deepStrictEqual(
        (yield* Projection.versions(projection)).map(({ position }) => position),
        [undefined]
      )
      yield* ProjectionRunner.make(projection)
      // not only in an hour: the lease was released
      yield* untilProcessed(projection, last)
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
    }))

  it.live("G6 a batch whose commit got no answer takes effect once, whether it was committed or not", () => {
    const { transactions, layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        const runner = yield* ProjectionRunner.make(projection)
        yield* untilState(runner, "Live")
        const lost = Effect.fail(unavailable) as Effect.Effect<never>
        transactions.instead.push((whole) => Effect.andThen(whole, lost))
        yield* untilProcessed(projection, yield* count("a", 3))
        transactions.instead.push(() => lost)
        yield* untilProcessed(projection, yield* count("a", 3))
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
        assert.strictEqual(transactions.instead.length, 0)
      }),
      layer
    )
  })

  it.live("G6 a runner whose tracking another moved restarts from there", () => {
    const { transactions, layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        const runner = yield* ProjectionRunner.make(projection)
        yield* untilProcessed(projection, yield* count("a", 3))
        yield* untilState(runner, "Live")
        const states = yield* watch(runner)
        // paused in the middle of its batch, while another runner processes half of it
        const other = Layer.succeedContext(yield* Effect.context<Services>())
        const meanwhile = Effect.gen(function* () {
          yield* Effect.raceFirst(
            ProjectionRunner.run(projection, { maxBatch: 1, ownership: { whileOwner: (_key, self) => self } }),
            until(Effect.map(readJournal(projection), ({ length }) => length >= 5))
          )
        }).pipe(Effect.provide(other), Effect.scoped, Effect.orDie)
        transactions.instead.push((whole) => Effect.andThen(meanwhile, whole))
        const last = yield* count("a", 4)
        yield* untilProcessed(projection, last)
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
        // the other may have processed all of it before the first finds out
        const isRetrying = ({ _tag }: { readonly _tag: string }) => _tag === "Retrying"
        yield* until(Effect.sync(() => states.some(isRetrying) && states.at(-1)?._tag === "Live"))
        const retried = states.flatMap((state) => (state._tag === "Retrying" ? [state.cause] : []))
        assert.strictEqual(retried.length, 1)
        assert.include(retried[0] as object, { _tag: "TrackingConflict" })
      }),
      layer
    )
  })
})

describe("definitions that the types would refuse", () => {
  it.live("G12 a handler that returns no Effect fails like any other", () =>
    Effect.gen(function* () {
      yield* count("a")
      const projection = Projection.make("untyped", {
        aggregates: [Counter],
        view: Projection.sql(() => Effect.void),
        handlers: { Counter: { Started: () => Promise.resolve() as never, Increased: Projection.ignore } }
      })
      const runner = yield* ProjectionRunner.make(projection, again(1))
      const error = yield* Effect.flip(runner.join)
      assert.strictEqual(error._tag, "ProjectionFailed")
      assert.include(error.message, "handlers and setup must return an Effect, but one returned a value of type object")
    }).pipe(Effect.scoped, Effect.provide([MemoryLayer(), SqliteViews({ filename: ":memory:" })]))
  )

  it.live("G12 a setup that throws, or returns no Effect, stops the runner with an error that says so", () =>
    Effect.gen(function* () {
      const setups = {
        "no such table": (): Effect.Effect<void> => {
          throw new Error("no such table")
        },
        "one returned a value of type undefined": () => undefined as never
      }
      for (const [message, setup] of Object.entries(setups)) {
        const projection = Projection.make("untyped", {
          aggregates: [Counter],
          view: Projection.sql(setup),
          handlers: { Counter: { Started: Projection.ignore, Increased: Projection.ignore } }
        })
        const { join } = yield* ProjectionRunner.make(projection)
        const error = yield* Effect.flip(join)
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.include(error.message, 'set up the view of projection "untyped"')
        assert.include(error.message, message)
      }
    }).pipe(Effect.scoped, Effect.provide([MemoryLayer(), SqliteViews({ filename: ":memory:" })]))
  )
})

describe("databases that fail in the middle of a batch", () => {
  it.live("G6 PostgreSQL ends the session, several times: nothing is lost, nothing is processed twice", () =>
    inViews(
      kinds.PostgreSQL,
      Effect.gen(function* () {
        const others = yield* connect({ maxConnections: 1 })
        let killed = 0
        const handled = ({ entry, view }: Handled) =>
          Effect.gen(function* () {
            if ("get" in view || !["Counter-a 2", "Counter-a 7", "Counter-b 0"].includes(entry) || killed >= 7) return
            killed++
            const [row] = yield* view.sql<{ readonly pid: number }>`SELECT pg_backend_pid() AS pid`
            yield* others`SELECT pg_terminate_backend(${row?.pid}, 5000)`
            // the next statement finds the connection broken: the commit at the latest
            if (killed % 2 === 0) yield* view.sql`SELECT 1`
          })
        const projection = kinds.PostgreSQL.journal({ handled })
        yield* count("a", 10)
        const runner = yield* ProjectionRunner.make(projection, { ...again(0) })
        const states = yield* watch(runner)
        yield* untilState(runner, "Retrying")
        yield* untilProcessed(projection, yield* count("b", 3))
        assert.strictEqual(killed, 7)
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
        assert.notInclude(names(states), "Blocked")
        assert.notInclude(names(states), "Stopped")
      })
    )
  )

  it.live("G10 G6 no one waits for a statement that PostgreSQL is running when the runner is interrupted", () =>
    inViews(
      kinds.PostgreSQL,
      Effect.gen(function* () {
        const others = yield* connect({ maxConnections: 1 })
        const running = Deferred.makeUnsafe<number>()
        const handled = ({ view }: Handled) =>
          Effect.gen(function* () {
            if ("get" in view || (yield* Deferred.isDone(running))) return
            const [row] = yield* view.sql<{ readonly pid: number }>`SELECT pg_backend_pid() AS pid`
            yield* Deferred.succeed(running, row?.pid ?? 0)
            yield* view.sql`SELECT pg_sleep(1000)`
          })
        const projection = kinds.PostgreSQL.journal({ handled })
        const scope = yield* Scopes.make()
        yield* Scopes.provide(ProjectionRunner.make(projection), scope)
        const last = yield* count("a", 2)
        const pid = yield* Deferred.await(running)
        const sleeping = Effect.map(
          others`SELECT 1 FROM pg_stat_activity WHERE pid = ${pid} AND wait_event = 'PgSleep'`,
          ({ length }) => length > 0
        )
        yield* until(sleeping)
        yield* Scopes.close(scope, Exit.void)
        yield* until(Effect.map(sleeping, (is) => !is))
        yield* ProjectionRunner.make(projection)
        yield* untilProcessed(projection, last)
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      })
    )
  )

  it.live("G6 another connection holds the lock of a SQLite file for longer than the timeout", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const make = Effect.succeed(Layer.merge(SqliteViews({ filename, lockTimeout: "20 millis" }), MemoryViews()))
      yield* inViews(
        { make },
        Effect.gen(function* () {
          const projection = kinds.SQLite.journal()
          const runner = yield* ProjectionRunner.make(projection, { ...again(0) })
          yield* untilProcessed(projection, yield* count("a", 3))
          const db = new DatabaseSync(filename)
          yield* Effect.addFinalizer(() => Effect.sync(() => db.close()))
          const states = yield* watch(runner)
          db.exec("BEGIN IMMEDIATE")
          const last = yield* count("a", 3)
          yield* until(Effect.sync(() => states.some((state) => state._tag === "Retrying" && state.attempts > 2)))
          db.exec("ROLLBACK")
          yield* untilProcessed(projection, last)
          assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
          for (const state of states) assert.notInclude(["Blocked", "Stopped"], state._tag)
        })
      )
    })
  )
})
