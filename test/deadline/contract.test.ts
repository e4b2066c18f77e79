/** What deadlines guarantee, wherever their index is: T1 to T4. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Logger, Scope, Stream, SubscriptionRef } from "effect"
import type { Ownership } from "effect-eventsourcing"
import { Deadline, EventStore, Projection, Repository } from "effect-eventsourcing"
import { eventually } from "../support/eventually.ts"
import { dueOf, makeExpiry, NewerPayment, Payment, Refused } from "./support/payment.ts"
import type { Here, Place } from "./support/places.ts"
import { places } from "./support/places.ts"
import { makeClock } from "./support/settableClock.ts"

const id = (name: string | number) => Payment.Id.make(`${name}`)

const request = (name: string | number, dueAt: number) =>
  Effect.flatMap(Repository.of(Payment), (payments) => payments.execute(id(name), Payment.Requested({ dueAt })))

const requestAll = (count: number, dueAt: (n: number) => number, prefix = "") =>
  Effect.forEach(
    Array.from({ length: count }, (_, n) => n),
    (n) => request(`${prefix}${n}`, dueAt(n)),
    { concurrency: 16, discard: true }
  )

const note = (name: string | number, text: string) =>
  Effect.flatMap(Repository.of(Payment), (payments) => payments.execute(id(name), Payment.Noted({ text })))

const statusOf = (name: string | number) =>
  Effect.flatMap(Repository.of(Payment), (payments) => Effect.map(payments.get(id(name)), ({ state }) => state.status))

/** How often each payment has expired; dies if one expired before it was due. */
const expirations = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const all = yield* Stream.runCollect(store.readAll([Payment]))
  const counts = new Map<string, number>()
  for (const { aggregateId, event } of all) {
    if (event._tag === "Expired") counts.set(aggregateId, (counts.get(aggregateId) ?? 0) + 1)
  }
  return counts
})

/** Both of two runners believe that they own the deadline. */
const shared: Ownership.Ownership = { whileOwner: (_key, self) => self }

const untilExpired = (count: number) =>
  eventually(
    `${count} expired`,
    Effect.map(expirations, ({ size }) => size >= count)
  )

const stateOf = <E>({ state }: Deadline.Runner<E>) => SubscriptionRef.get(state)

const untilState = <E>(runner: Deadline.Runner<E>, tag: Deadline.State["_tag"]) =>
  eventually(
    `it is ${tag}`,
    Effect.map(stateOf(runner), ({ _tag }) => _tag === tag)
  )

describe.concurrent.each(Object.entries(places))("a deadline with its index in %s", (_, place) => {
  const test = (title: string, run: (place: Place) => Effect.Effect<unknown, unknown, Here | Scope.Scope>): void =>
    it.live(title, () => Effect.flatMap(place.make, (layer) => Effect.scoped(run(place)).pipe(Effect.provide(layer))))

  test("T1 something is decided once it is due, once, and only if the state still asks for it", ({ index }) =>
    Effect.gen(function* () {
      const { provide, set: setTime } = yield* makeClock
      const expiry = makeExpiry(index)
      yield* request("early", 1000)
      yield* request("late", 2000)
      yield* request("paid", 1000)
      yield* request("postponed", 1000)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 0)
      const payments = yield* Repository.of(Payment)
      yield* payments.execute(id("paid"), Payment.Paid())
      yield* payments.execute(id("postponed"), Payment.Postponed({ dueAt: 1001 }))
      yield* setTime(999)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 0)
      yield* setTime(1000)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 1)
      assert.deepStrictEqual([...(yield* expirations)], [["early", 1]])
      yield* setTime(3000)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 2)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 0)
      assert.deepStrictEqual([...(yield* expirations)].sort(), [
        ["early", 1],
        ["late", 1],
        ["postponed", 1]
      ])
      assert.strictEqual(yield* statusOf("paid"), "paid")
    }))

  test("T1 a runner decides when the time comes, not before, and those that are due first begin", ({ index }) =>
    Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      yield* request("overdue", now - 60_000)
      const runner = yield* Deadline.start(makeExpiry(index))
      yield* untilExpired(1)
      yield* requestAll(20, (n) => now + 50 * n)
      yield* request("later", now + 3_600_000)
      yield* untilExpired(21)
      const store = yield* EventStore.EventStore
      for (const { aggregateId, event, recordedAt } of yield* Stream.runCollect(store.readAll([Payment]))) {
        if (event._tag !== "Expired" || aggregateId === "overdue") continue
        assert.isAtLeast(recordedAt.epochMilliseconds, now + 50 * Number(aggregateId), aggregateId)
      }
      yield* untilState(runner, "Live")
      assert.deepStrictEqual(new Set((yield* expirations).values()), new Set([1]))
      assert.strictEqual(yield* statusOf("later"), "awaiting")
    }))

  test("T1 the decision is taken on the state as it is by then, and on no other", ({ index }) =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      let seen = 0
      const expiry = Deadline.make("expiry", {
        aggregate: Payment,
        index,
        due: dueOf,
        decide: (_state, { version }) => {
          seen++
          // another writer records a payment between the decision and the append
          const pay = store.append(Payment, id("a"), { expected: version, events: [Payment.Paid()] })
          return Effect.as(Effect.orDie(pay), Payment.Expired())
        }
      })
      yield* request("a", 1)
      assert.strictEqual(yield* Deadline.settle(expiry), 0)
      assert.strictEqual(seen, 1)
      assert.strictEqual(yield* statusOf("a"), "paid")
    }))

  test("T1 after a time without a runner everything that is due is decided, more than fits a page", ({ index }) =>
    Effect.gen(function* () {
      yield* requestAll(600, (n) => n)
      const runner = yield* Deadline.start(makeExpiry(index))
      yield* untilExpired(600)
      yield* untilState(runner, "Live")
      assert.deepStrictEqual(new Set((yield* expirations).values()), new Set([1]))
    }))

  test("T2 two runners that both work decide once on each aggregate", ({ index }) =>
    Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      yield* requestAll(100, (n) => now + n * 5)
      for (let n = 0; n < 2; n++) yield* Deadline.start(makeExpiry(index), { ownership: shared })
      yield* untilExpired(100)
      yield* requestAll(100, () => 1, "overdue ")
      yield* untilExpired(200)
      assert.deepStrictEqual(new Set((yield* expirations).values()), new Set([1]))
    }))

  test("T2 one of two runners works, and the other takes over", ({ index }) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(Deadline.start(makeExpiry(index), { lease: "30 seconds" }), scope)
      yield* untilState(first, "Live")
      const second = yield* Deadline.start(makeExpiry(index), { lease: "30 seconds" })
      yield* untilState(second, "Standby")
      yield* request("a", 1)
      yield* untilExpired(1)
      assert.strictEqual((yield* stateOf(second))._tag, "Standby")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* stateOf(first), { _tag: "Stopped", error: "interrupted" })
      yield* request("b", 1)
      yield* untilExpired(2)
      yield* untilState(second, "Live")
    }))

  test("T3 an index that is lost is rebuilt from the log: nothing is left out or decided twice", ({ index }) =>
    Effect.gen(function* () {
      const { provide, set: setTime } = yield* makeClock
      const expiry = makeExpiry(index)
      yield* requestAll(30, (n) => 1000 * (1 + (n % 3)))
      yield* setTime(1000)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 10)
      yield* Projection.remove(expiry.index)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 0)
      yield* setTime(2000)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 10)
      yield* Projection.reset(expiry.index)
      yield* setTime(3000)
      assert.strictEqual(yield* provide(Deadline.settle(expiry)), 10)
      assert.deepStrictEqual(
        [...(yield* expirations).values()],
        Array.from({ length: 30 }, () => 1)
      )
    }))

  test("T3 a running deadline continues after its index was reset", ({ index }) =>
    Effect.gen(function* () {
      const expiry = makeExpiry(index)
      const runner = yield* Deadline.start(expiry)
      yield* untilState(runner, "Live")
      yield* requestAll(10, () => 1)
      yield* Projection.reset(expiry.index)
      yield* requestAll(10, () => 1, "more ")
      yield* untilExpired(20)
      assert.deepStrictEqual(new Set((yield* expirations).values()), new Set([1]))
    }))

  test("T3 a higher version has an index of its own, by what due returns now", ({ index }) =>
    Effect.gen(function* () {
      const later = (yield* Clock.currentTimeMillis) + 3_600_000
      const runner = yield* Deadline.start(makeExpiry(index))
      yield* request("a", later)
      yield* untilState(runner, "Live")
      yield* Deadline.start(makeExpiry(index, { version: 2, due: (state) => dueOf(state) && 1 }))
      yield* untilExpired(1)
    }))

  test("T4 a decision that leaves the aggregate due at the same time is not recorded, and reported", ({ index }) =>
    Effect.gen(function* () {
      yield* request("a", 1)
      const { position } = yield* note("a", "unchanged")
      yield* request("b", 1)
      const runner = yield* Deadline.start(makeExpiry(index))
      yield* untilExpired(1)
      yield* untilState(runner, "Failing")
      const state = yield* stateOf(runner)
      assert(state._tag === "Failing")
      assert.deepStrictEqual(
        state.failures.map(({ cause, id }) => [id, cause._tag]),
        [["a", "DeadlineUnchanged"]]
      )
      const payments = yield* Repository.of(Payment)
      const history = yield* Stream.runCollect(payments.history(id("a")))
      assert.strictEqual(history.at(-1)?.position, position)
      // once the aggregate has changed, it is decided on again
      yield* payments.execute(id("a"), Payment.Paid())
      yield* untilState(runner, "Live")
    }))

  test("T4 a decision without events, though something is due, is reported and not repeated at once", ({ index }) =>
    Effect.gen(function* () {
      let decided = 0
      const idle = Deadline.make("idle", {
        aggregate: Payment,
        index,
        due: dueOf,
        decide: () => {
          decided++
          return []
        }
      })
      yield* request("a", 1)
      const error = yield* Effect.flip(Deadline.settle(idle))
      assert(error._tag === "DeadlineFailed")
      assert.strictEqual(error.cause._tag, "DeadlineUnchanged")
      // an empty decision on a cached state is taken again on a fresh one
      assert.isAtMost(decided, 2)
    }))

  test("T4 a time that moves on, but is due again, is decided on again", ({ index }) =>
    Effect.gen(function* () {
      const reminders = Deadline.make("reminders", {
        aggregate: Payment,
        index,
        due: ({ notes }) => (notes.length < 3 ? notes.length : undefined),
        decide: ({ notes }) => Payment.Noted({ text: `reminder ${notes.length + 1}` })
      })
      yield* request("a", 1)
      assert.strictEqual(yield* Deadline.settle(reminders), 3)
      const payments = yield* Repository.of(Payment)
      const { state } = yield* payments.get(id("a"))
      assert.deepStrictEqual(state.notes, ["reminder 1", "reminder 2", "reminder 3"])
    }))

  test("G8 T1 aggregates that fail hold up no others, are retried, and shown", ({ index }) =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      yield* request("refused", 1)
      yield* note("refused", "refused")
      yield* request("throws", 2)
      yield* note("throws", "due throws")
      yield* store.append(NewerPayment, NewerPayment.Id.make("newer"), {
        expected: "NoStream",
        events: [NewerPayment.Requested({ dueAt: 3 }), NewerPayment.Refunded()]
      })
      yield* store.append(NewerPayment, NewerPayment.Id.make("undecodable"), {
        expected: "NoStream",
        events: [NewerPayment.Requested({ dueAt: 4 }), NewerPayment.Noted({ text: 1 })]
      })
      yield* requestAll(20, () => 5)
      const runner = yield* Deadline.start(makeExpiry(index))
      const allFail = Effect.map(
        stateOf(runner),
        (state) => state._tag === "Failing" && state.count === 4 && state.failures.every(({ attempts }) => attempts > 1)
      )
      const areExpired = Effect.forEach(
        Array.from({ length: 20 }, (_, n) => n),
        (n) => Effect.map(statusOf(n), (status) => status === "expired")
      )
      yield* eventually(
        "20 have expired",
        Effect.map(areExpired, (all) => all.every((is) => is))
      )
      yield* eventually("all that fail are retried", allFail)
      const state = yield* stateOf(runner)
      assert(state._tag === "Failing")
      assert.deepStrictEqual(
        new Set(state.failures.map(({ id }) => id)),
        new Set(["refused", "throws", "newer", "undecodable"])
      )
      const refused = state.failures.find((failure) => failure.id === "refused")
      assert.instanceOf(refused?.cause, Refused)
      assert.strictEqual(state.failures.find((failure) => failure.id === "newer")?.cause._tag, "UnknownEventType")
      // later events are decided on, too
      yield* request("last", 1)
      yield* eventually(
        "the last has expired",
        Effect.map(statusOf("last"), (status) => status === "expired")
      )
    }))

  test("T1 more aggregates that fail than fit a page hold up no others", ({ index }) =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      yield* Effect.forEach(
        Array.from({ length: 300 }, (_, n) => n),
        (n) =>
          store.append(Payment, id(`refused ${n}`), {
            expected: "NoStream",
            events: [Payment.Requested({ dueAt: 1 }), Payment.Noted({ text: "refused" })]
          }),
        { concurrency: 16, discard: true }
      )
      yield* request("a", 2)
      const runner = yield* Deadline.start(makeExpiry(index))
      yield* untilExpired(1)
      yield* eventually(
        "all fail",
        Effect.map(stateOf(runner), (state) => state._tag === "Failing" && state.count === 300)
      )
      const state = yield* stateOf(runner)
      assert(state._tag === "Failing")
      assert.strictEqual(state.failures.length, 20)
      const error = yield* Effect.flip(Deadline.settle(makeExpiry(index, { name: "other" })))
      assert(error._tag === "DeadlineFailed")
      assert.instanceOf(error.cause, Refused)
    }))

  test("G12 a runner whose version is superseded stops and says so", ({ index }) =>
    Effect.gen(function* () {
      const runner = yield* Deadline.start(makeExpiry(index, { version: 2 }))
      yield* untilState(runner, "Live")
      const error = yield* Effect.flip(Deadline.run(makeExpiry(index)))
      assert.strictEqual(error._tag, "ProjectionSuperseded")
    }))

  test("a due that was changed without a new version is noticed if it makes something due later", ({ index }) =>
    Effect.gen(function* () {
      const { provide, set: setTime } = yield* makeClock
      const logged: Array<string> = []
      const logger = Logger.layer([
        Logger.make(({ message }) => {
          logged.push(String(message))
        })
      ])
      yield* request("a", 1000)
      assert.strictEqual(yield* provide(Deadline.settle(makeExpiry(index))), 0)
      yield* setTime(1000)
      const changed = makeExpiry(index, { due: (state) => dueOf(state) && 2000 })
      assert.strictEqual(yield* Effect.provide(provide(Deadline.settle(changed)), logger), 0)
      assert.strictEqual(logged.filter((message) => message.includes("raise the version")).length, 1)
      yield* setTime(2000)
      assert.strictEqual(yield* provide(Deadline.settle(changed)), 1)
    }))
})
