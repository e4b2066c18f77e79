/** Side effects: at least once for each event, with a key by which the receiver can recognize repetitions. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Deferred, Effect, Exit, Schedule, Scope as Scopes, SubscriptionRef } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { EventSourcingError, Projection, ProjectionRunner, Recorder } from "effect-eventsourcing"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Services } from "./support/harness.ts"
import { inViews } from "./support/harness.ts"
import { count } from "./support/journalView.ts"
import { until, untilState } from "./support/runnerStates.ts"
import type { Kind } from "./support/viewKinds.ts"
import { kinds, watching } from "./support/viewKinds.ts"

interface Sent {
  readonly version: number
  readonly key: string
}

/** Mail that is sent for each event of a counter, and what was sent; `sending` runs before it is sent. */
const makeMail = (
  kind: Kind,
  sending: (sent: Sent) => Effect.Effect<unknown, unknown> = () => Effect.void,
  number = 1
) => {
  const sent: Array<Sent> = []
  const send = ({ version, id }: { readonly version: number; readonly id: string }, attempt: Projection.Attempt) =>
    Effect.suspend(() => {
      const mail = { version, key: attempt.idempotencyKey }
      assert.strictEqual(mail.key, id)
      return Effect.andThen(
        sending(mail),
        Effect.sync(() => sent.push(mail))
      )
    })
  const definition = {
    version: number,
    aggregates: [Counter],
    handlers: { Counter: { Started: send, Increased: send } }
  } as const
  const mail: Projection.Followed<ReturnType<Kind["journal"]>["view"], "at-least-once", never> =
    kind === kinds.memory
      ? Projection.atLeastOnce("mail", { ...definition, view: Projection.memory((): ReadonlyArray<string> => []) })
      : Projection.atLeastOnce("mail", { ...definition, view: Projection.sql(() => Effect.void) })
  return { mail, sent, versions: () => sent.map(({ version }) => version) }
}

const idsOf = (name: string) =>
  Effect.flatMap(Recorder.Recorder, (recorder) =>
    Effect.map(recorder.readStream({ stream: Counter.stream(Counter.Id.make(name)), limit: 100 }), (events) =>
      events.map(({ id }) => id)
    )
  )

const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "ask", reason: "not now" })

describe.concurrent.each(Object.entries(kinds))("side effects whose progress is stored in %s", (_, kind) => {
  const test = (title: string, run: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run()))

  test("each event has its effect once if nothing fails, with the id of the event as the key", () =>
    Effect.gen(function* () {
      const { mail, sent, versions } = makeMail(kind)
      yield* count("a", 3)
      yield* ProjectionRunner.make(mail)
      yield* untilProcessed(mail, yield* count("a", 3))
      assert.deepStrictEqual(versions(), [0, 1, 2, 3, 4, 5])
      assert.deepStrictEqual(
        sent.map(({ key }) => key),
        [...(yield* idsOf("a"))]
      )
    }))

  it.live("one whose progress was not stored is done again with the same key; those before it are not", () => {
    const { transactions, layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const { mail, sent, versions } = makeMail(kind)
        const last = yield* count("a", 4)
        const pass = <A, E, R>(whole: Effect.Effect<A, E, R>) => whole
        transactions.instead.push(pass, pass, () => Effect.fail(unavailable) as Effect.Effect<never>)
        yield* ProjectionRunner.make(mail)
        yield* untilProcessed(mail, last)
        assert.deepStrictEqual(versions(), [0, 1, 2, 2, 3])
        assert.strictEqual(sent[2]?.key, sent[3]?.key)
        yield* until(Effect.sync(() => transactions.committed === 4))
      }),
      layer
    )
  })

  test("G10 one that was interrupted is done again", () =>
    Effect.gen(function* () {
      const reached = yield* Deferred.make<void>()
      let isHeld = true
      const { mail, versions } = makeMail(kind, ({ version }) =>
        version === 1 && isHeld ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never) : Effect.void
      )
      const last = yield* count("a", 3)
      const scope = yield* Scopes.make()
      yield* Scopes.provide(ProjectionRunner.make(mail), scope)
      yield* Deferred.await(reached)
      yield* Scopes.close(scope, Exit.void)
      assert.deepStrictEqual(versions(), [0])
      isHeld = false
      yield* ProjectionRunner.make(mail)
      yield* untilProcessed(mail, last)
      assert.deepStrictEqual(versions(), [0, 1, 2])
    }))

  test("one that fails is retried by the policy, and then stops the runner", () =>
    Effect.gen(function* () {
      let attempts = 0
      const { mail, versions } = makeMail(kind, ({ version }) =>
        version === 1
          ? Effect.andThen(
              Effect.sync(() => attempts++),
              Effect.fail("no")
            )
          : Effect.void
      )
      yield* count("a", 3)
      const runner = yield* ProjectionRunner.make(mail, { retry: Schedule.recurs(2) })
      assert.include(yield* Effect.flip(runner.join), {
        _tag: "ProjectionFailed",
        version: 1,
        attempts: 3,
        cause: "no"
      })
      assert.strictEqual(attempts, 3)
      assert.deepStrictEqual(versions(), [0])
    }))

  test("one may be set aside depending on its error, while all others are retried", () =>
    Effect.gen(function* () {
      let first = 0
      const { mail, versions } = makeMail(kind, ({ version }) => {
        if (version === 1) return Effect.fail("poison")
        first++
        return first > 1 && first < 9 ? Effect.fail("away") : Effect.void
      })
      const retry = Schedule.spaced("1 millis").pipe(Schedule.while(({ input }) => input !== "poison"))
      yield* ProjectionRunner.make(mail, { retry, onFailure: "set-aside" })
      yield* count("a", 2)
      yield* untilProcessed(mail, yield* count("b"))
      assert.deepStrictEqual([versions(), first], [[0, 0], 9])
      const left = yield* Projection.deadLetters(mail)
      assert.deepStrictEqual(
        left.map(({ cause, attempts }) => [cause, attempts]),
        [["poison", 1]]
      )
    }))

  test("a blocked runner notices that its view was reset", () =>
    Effect.gen(function* () {
      let refused = true
      const { mail, versions } = makeMail(kind, ({ version }) =>
        version === 1 && refused ? Effect.fail("no") : Effect.void
      )
      const last = yield* count("a", 2)
      const runner = yield* ProjectionRunner.make(mail, { retry: Schedule.spaced("1 hour") })
      yield* untilState(runner, "Blocked")
      refused = false
      yield* Projection.reset(mail)
      yield* Projection.wait(mail, last, { timeout: "Infinity" })
      assert.deepStrictEqual(versions(), [0, 0, 1])
    }))

  test("those set aside wait for a replay, and later ones have their effect after it", () =>
    Effect.gen(function* () {
      let refused = true
      const { mail, versions } = makeMail(kind, ({ version }) =>
        version === 1 && refused ? Effect.fail("no") : Effect.void
      )
      const runner = yield* ProjectionRunner.make(mail, { retry: Schedule.recurs(0), onFailure: "set-aside" })
      yield* untilProcessed(mail, yield* count("a", 3))
      assert.deepStrictEqual(versions(), [0])
      refused = false
      assert.deepStrictEqual(yield* Projection.replay(mail), { replayed: 2, left: [] })
      assert.deepStrictEqual(versions(), [0, 1, 2])
      yield* untilProcessed(mail, yield* count("a", 2))
      assert.deepStrictEqual(versions(), [0, 1, 2, 3, 4])
      assert.deepStrictEqual(yield* Projection.deadLetters(mail), [])
      yield* untilState(runner, "Live")
    }))

  test("of two versions only the newer sends once it has caught up: the older one's runner stops, and can't be restarted", () =>
    Effect.gen(function* () {
      const old = makeMail(kind)
      const next = makeMail(kind, undefined, 2)
      yield* count("a", 2)
      const runner = yield* ProjectionRunner.make(old.mail)
      yield* untilState(runner, "Live")
      yield* ProjectionRunner.make(next.mail)
      assert.include(yield* Effect.flip(runner.join), { _tag: "ProjectionSuperseded", version: 1, by: 2 })
      yield* untilProcessed(next.mail, yield* count("a"))
      assert.notInclude(old.versions(), 2)
      assert.include(next.versions(), 2)
      const late = yield* ProjectionRunner.make(old.mail)
      assert.include(yield* Effect.flip(late.join), { _tag: "ProjectionSuperseded", version: 1, by: 2 })
      // nor does it come back at its old position, to send again what was sent since
      assert.isTrue(yield* Projection.remove(old.mail, 2, { current: true }))
      const again = yield* ProjectionRunner.make(old.mail)
      assert.include(yield* Effect.flip(again.join), { _tag: "ProjectionSuperseded", version: 1 })
      assert.notInclude(old.versions(), 2)
    }))
})

it.effect("by default it is retried indefinitely, at least once a minute, and the state shows it", () =>
  inViews(
    kinds.memory,
    Effect.gen(function* () {
      let attempts = 0
      let isAway = true
      const { mail, versions } = makeMail(kinds.memory, () =>
        Effect.suspend(() => {
          attempts++
          return isAway ? Effect.fail("away") : Effect.void
        })
      )
      const runner = yield* ProjectionRunner.make(mail, { lease: "1 hour" })
      yield* count("a", 1)
      yield* untilState(runner, "Blocked")
      // 100 ms, 200 ms and so on: 10 pauses, each less than a minute, and 102.3 seconds together
      yield* TestClock.adjust("102300 millis")
      assert.strictEqual(attempts, 11)
      for (let minute = 1; minute <= 60; minute++) {
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(attempts, 11 + minute)
        const now = yield* Clock.currentTimeMillis
        assert.include(yield* SubscriptionRef.get(runner.state), {
          ...{ _tag: "Blocked", cause: "away", attempts },
          nextAttempt: now + 60_000
        })
      }
      isAway = false
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(versions(), [0])
      assert.include(yield* SubscriptionRef.get(runner.state), { _tag: "Live" })
    })
  )
)

describe.each(Object.entries({ SQLite: kinds.SQLite, PostgreSQL: kinds.PostgreSQL }))(
  "side effects whose progress is in tables of %s",
  (_, kind) => {
    it.live("a handler that requires a client gets the one of that database, outside of a transaction", () =>
      inViews(
        kind,
        Effect.gen(function* () {
          const counts: Array<unknown> = []
          const handle = Effect.fnUntraced(function* () {
            const sql = yield* SqlClient.SqlClient
            counts.push((yield* sql<{ readonly n: number }>`SELECT count(*) AS n FROM mail_sent`)[0]?.n)
            yield* sql`INSERT INTO mail_sent VALUES (1)`
          })
          const mail = Projection.atLeastOnce("mail", {
            aggregates: [Counter],
            view: Projection.sql(({ sql }) => sql`CREATE TABLE IF NOT EXISTS mail_sent (n integer)`),
            handlers: { Counter: { Started: handle, Increased: handle } }
          })
          yield* ProjectionRunner.make(mail)
          yield* untilProcessed(mail, yield* count("a", 2))
          assert.deepStrictEqual(counts.map(Number), [0, 1])
        })
      )
    )
  }
)
