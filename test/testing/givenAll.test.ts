/** Transactions and programs on several aggregates: what they record, and what a test reports if that differs. */
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Effect, Fiber, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, EventStore, Metadata, Repository, StreamName } from "effect-eventsourcing"
import { givenAll, stream } from "effect-eventsourcing/testing"
import { reportsOf } from "./fixtures/reports.ts"

const Account = Aggregate.make("Account", {
  state: Schema.Struct({ balance: Schema.BigInt }),
  creation: { Opened: { balance: Schema.BigInt } },
  events: { Withdrawn: { amount: Schema.BigInt }, Deposited: { amount: Schema.BigInt } },
  reduce: {
    Opened: ({ balance }) => ({ balance }),
    Withdrawn: ({ balance }, { amount }) => ({ balance: balance - amount }),
    Deposited: ({ balance }, { amount }) => ({ balance: balance + amount })
  },
  snapshotEvery: 1
})
const Audit = Aggregate.make("Audit", {
  state: Schema.Int,
  creation: { Begun: {} },
  events: { Noted: { text: Schema.String } },
  reduce: { Begun: () => 0, Noted: (n) => n + 1 }
})
class Overdraft extends Schema.TaggedError<Overdraft>()("Overdraft", { missing: Schema.BigInt }) {}

const ada = Account.Id.make("ada")
const bob = Account.Id.make("bob")
const audit = Audit.Id.make("1")

const transfer = (amount: bigint) =>
  Repository.transaction(
    { from: Repository.existing(Account, ada), to: Repository.existing(Account, bob) },
    ({ from }) =>
      from.balance < amount
        ? Effect.fail(new Overdraft({ missing: amount - from.balance }))
        : amount === 0n
          ? {}
          : { from: Account.Withdrawn({ amount }), to: Account.Deposited({ amount }) }
  )

const accounts = givenAll(
  stream(Account, ada, Account.Opened({ balance: 10n })),
  stream(Account, bob, Account.Opened({ balance: 0n }), Account.Deposited({ amount: 1n }))
)

const reportOf = reportsOf("givenAll.test.ts")

const GIVEN = `given
  Account-ada: Opened {"balance":10n}
  Account-bob: Opened {"balance":0n}
  Account-bob: Deposited {"amount":1n}
`

describe("a transaction", () => {
  it("records events of each of its aggregates, whose order among each other does not count", () => {
    const withdrawn = stream(Account, ada, Account.Withdrawn({ amount: 3n }))
    const deposited = stream(Account, bob, Account.Deposited({ amount: 3n }))
    accounts.when(transfer(3n)).thenEvents(withdrawn, deposited)
    accounts.when(transfer(3n)).thenEvents(deposited, withdrawn)
    accounts.when(transfer(0n)).thenNothing()
    accounts.when(transfer(11n)).thenFails("Overdraft", { missing: 1n })
    accounts.when(transfer(11n)).thenFails(new Overdraft({ missing: 1n }))
    givenAll().when(transfer(1n)).thenFails("AggregateNotFound", { id: "ada" })
  })

  it("that records other events is shown with the difference", () => {
    assert.strictEqual(
      reportOf(() => accounts.when(transfer(3n)).thenEvents(stream(Account, ada, Account.Withdrawn({ amount: 4n })))),
      `the recorded events differ from the expected ones

${GIVEN}
difference (- expected, + recorded)
- Account-ada: Withdrawn {"amount":4n}
+ Account-ada: Withdrawn {"amount":3n}
+ Account-bob: Deposited {"amount":3n}`
    )
    assert.strictEqual(
      reportOf(() => accounts.when(transfer(3n)).thenNothing()),
      `events were recorded, but none were expected

${GIVEN}
recorded
  Account-ada: Withdrawn {"amount":3n}
  Account-bob: Deposited {"amount":3n}`
    )
    // the same events, each of the other account
    const swapped = [
      stream(Account, bob, Account.Withdrawn({ amount: 3n })),
      stream(Account, ada, Account.Deposited({ amount: 3n }))
    ] as const
    reportOf(() => accounts.when(transfer(3n)).thenEvents(...swapped))
  })

  it("that fails, or succeeds although a failure was expected, is reported", () => {
    assert.strictEqual(
      reportOf(() => accounts.when(transfer(12n)).thenEvents(stream(Account, ada, Account.Withdrawn({ amount: 12n })))),
      `the program failed, but events were expected

${GIVEN}
expected
  Account-ada: Withdrawn {"amount":12n}

failure
  Overdraft {"missing":2n}`
    )
    assert.match(
      reportOf(() => accounts.when(transfer(3n)).thenFails("Overdraft")),
      /^the program succeeded, but a failure was expected\n/
    )
    assert.match(
      reportOf(() => accounts.when(transfer(12n)).thenFails("AggregateNotFound")),
      /difference \(- expected, \+ failed with\)\n- AggregateNotFound\n\+ Overdraft \{"missing":2n\}$/
    )
    assert.match(
      reportOf(() => accounts.when(Effect.die(new Error("oops"))).thenNothing()),
      /^the program threw: oops\n/
    )
  })
})

describe("a program", () => {
  const open = Effect.gen(function* () {
    const audits = yield* Repository.of(Audit)
    yield* audits.execute(audit, [Audit.Begun(), Audit.Noted({ text: "a" })])
    yield* (yield* Repository.of(Account)).execute(ada, Account.Deposited({ amount: 1n }))
    yield* audits.execute(audit, Audit.Noted({ text: "b" }))
  })

  it("may execute several commands; events of an aggregate that was not named are shown too", () => {
    accounts
      .when(open)
      .thenEvents(
        stream(Audit, audit, Audit.Begun(), Audit.Noted({ text: "a" }), Audit.Noted({ text: "b" })),
        stream(Account, ada, Account.Deposited({ amount: 1n }))
      )
    const report = reportOf(() =>
      accounts.when(open).thenEvents(stream(Account, ada, Account.Deposited({ amount: 1n })))
    )
    assert.include(
      report,
      `  Account-ada: Deposited {"amount":1n}
+ Audit-1: Audit.Begun
+ Audit-1: Audit.Noted {"text":"a"}
+ Audit-1: Audit.Noted {"text":"b"}`
    )
  })

  it("runs on a log of its own each time, and reads the given times and metadata from it", () => {
    const read = Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      return yield* Stream.runCollect(store.readAll([Account]))
    })
    const seen: Array<unknown> = []
    const given = givenAll(
      stream(Account, ada, Account.Opened({ balance: 1n })),
      stream(Account, bob, Account.Opened({ balance: 2n }))
        .at("2026-01-02T03:04:05Z")
        .with({ correlationId: "c" }),
      stream(Account, ada, Account.Deposited({ amount: 1n }))
    )
    const program = Effect.map(read, (events) => {
      seen.push(
        events.map(({ stream, version, recordedAt, metadata }) => [
          ...[stream, version, DateTime.formatIso(recordedAt)],
          metadata.correlationId
        ])
      )
    })
    given.when(program).thenNothing()
    given.when(program).thenNothing()
    const once = [
      [StreamName.of("Account", "ada"), 0, "2000-01-01T00:00:00.000Z", undefined],
      [StreamName.of("Account", "bob"), 0, "2026-01-02T03:04:05.000Z", "c"],
      [StreamName.of("Account", "ada"), 1, "2026-01-02T03:04:06.000Z", undefined]
    ]
    assert.deepStrictEqual(seen, [once, once])
    assert.deepStrictEqual(Metadata.empty.attributes, {})
  })

  it.effect("that waits, or requires other services, runs as an Effect", () =>
    Effect.gen(function* () {
      class Fee extends Context.Service<Fee, bigint>()("test/Fee") {}
      const later = Effect.gen(function* () {
        yield* Effect.sleep("1 hour")
        yield* transfer(yield* Fee)
      })
      assert.throws(
        () => accounts.when(Effect.provideService(later, Fee, 1n)),
        /^the program does not end at once: use whenEffect, which returns an Effect$/
      )
      const running = Effect.provideService(accounts.whenEffect(later), Fee, 2n)
      const fiber = yield* Effect.forkChild(running, { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      const ran = yield* Fiber.join(fiber)
      ran.thenEvents(
        stream(Account, ada, Account.Withdrawn({ amount: 2n })),
        stream(Account, bob, Account.Deposited({ amount: 2n }))
      )
      reportOf(() => ran.thenNothing())
    })
  )
})

describe("givenAll", () => {
  it("refuses events that could not be recorded at their place", () => {
    assert.throws(
      () => givenAll(stream(Account, ada, Account.Deposited({ amount: 1n }))),
      /^Deposited \{"amount":1n\} can't be recorded: it changes the aggregate, which does not exist yet/
    )
    assert.throws(
      () => accounts.when(transfer(3n)).thenEvents(stream(Account, ada, Account.Opened({ balance: 1n }))),
      /^Opened \{"balance":1n\} can't be recorded: it creates the aggregate, which already exists/
    )
  })
})
