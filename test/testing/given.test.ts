/** What a test of a decision reports when it fails, and that it does fail. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schema, SchemaGetter } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Evolution } from "effect-eventsourcing"
import { ExpectationFailed, given } from "effect-eventsourcing/testing"
import { reportsOf } from "./fixtures/reports.ts"

const Account = Aggregate.make("Account", {
  state: Schema.Struct({ balance: Schema.BigInt }),
  creation: { Opened: { balance: Schema.BigInt } },
  events: {
    Withdrawn: { amount: Schema.BigInt.check(Schema.isGreaterThanBigInt(0n)) },
    Deposited: { amount: Schema.BigInt, note: Schema.optional(Schema.String) },
    Broken: {}
  },
  reduce: {
    Opened: ({ balance }) => ({ balance }),
    Withdrawn: ({ balance }, { amount }) => ({ balance: balance - amount }),
    Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }),
    Broken: () => {
      throw new Error("the reducer is broken")
    }
  }
})

class Overdraft extends Schema.TaggedError<Overdraft>()("Overdraft", {
  missing: Schema.BigInt,
  owner: Schema.optional(Schema.String)
}) {}

const withdraw = (amount: bigint) =>
  Account.decide(({ balance }) =>
    balance < amount ? Effect.fail(new Overdraft({ missing: amount - balance })) : Account.Withdrawn({ amount })
  )

const reportOf = reportsOf("given.test.ts")

const GIVEN = `given
  Opened {"balance":10n}

state
  {"balance":10n}
`
const ten = given(Account, Account.Opened({ balance: 10n }))

describe("thenEvents", () => {
  it("accepts the events of the decision, as they would be recorded", () => {
    ten.when(withdraw(3n)).thenEvents(Account.Withdrawn({ amount: 3n }))
    ten.when(Account.Deposited({ amount: 3n })).thenEvents(Account.Deposited({ amount: 3n }))
    // an optional field that is undefined is not recorded
    ten.when(Account.Deposited({ amount: 3n })).thenEvents(Account.Deposited({ amount: 3n, note: undefined }))
    given(Account)
      .when(Account.create(() => [Account.Opened({ balance: 1n }), Account.Deposited({ amount: 2n })]))
      .thenEvents(Account.Opened({ balance: 1n }), Account.Deposited({ amount: 2n }))
    given(Account)
      .when([Account.Opened({ balance: 1n }), Account.Deposited({ amount: 2n })])
      .thenEvents(Account.Opened({ balance: 1n }), Account.Deposited({ amount: 2n }))
    given(Account, Account.Opened({ balance: 1n }), Account.Deposited({ amount: 4n }))
      .when(Account.createOrDecide((account) => Account.Withdrawn({ amount: account?.balance ?? 0n })))
      .thenEvents(Account.Withdrawn({ amount: 5n }))
  })

  it("shows the events that differ", () => {
    const decided = ten.when(
      Account.decide(() => [Account.Withdrawn({ amount: 3n }), Account.Deposited({ amount: 1n })])
    )
    assert.strictEqual(
      reportOf(() => decided.thenEvents(Account.Withdrawn({ amount: 4n }), Account.Deposited({ amount: 1n }))),
      `Account: the recorded events differ from the expected ones

${GIVEN}
difference (- expected, + recorded)
- Withdrawn {"amount":4n}
+ Withdrawn {"amount":3n}
  Deposited {"amount":1n}`
    )
    // one too many, one too few, another order
    reportOf(() => decided.thenEvents(Account.Withdrawn({ amount: 3n })))
    reportOf(() =>
      ten.when(withdraw(3n)).thenEvents(Account.Withdrawn({ amount: 3n }), Account.Withdrawn({ amount: 3n }))
    )
    reportOf(() => decided.thenEvents(Account.Deposited({ amount: 1n }), Account.Withdrawn({ amount: 3n })))
  })

  it("shows the failure of the decision, and has it as the cause", () => {
    try {
      ten.when(withdraw(12n)).thenEvents(Account.Withdrawn({ amount: 12n }))
      assert.fail("the expectation was met")
    } catch (error) {
      assert.instanceOf(error, ExpectationFailed)
      assert.deepStrictEqual(error.cause, new Overdraft({ missing: 2n }))
      assert.strictEqual(
        error.message,
        `Account: the decision failed, but events were expected

${GIVEN}
expected
  Withdrawn {"amount":12n}

failure
  Overdraft {"missing":2n}`
      )
    }
  })

  it("reports that nothing was recorded", () => {
    assert.strictEqual(
      reportOf(() => ten.when(Account.decide(() => [])).thenEvents(Account.Withdrawn({ amount: 3n }))),
      `Account: nothing was recorded, but events were expected

${GIVEN}
expected
  Withdrawn {"amount":3n}`
    )
  })

  it("refuses events that could not be recorded, given ones, expected ones and recorded ones", () => {
    const refusal = /^Withdrawn \{"amount":0n\} can't be recorded: Expected/
    assert.throws(() => given(Account, Account.Opened({ balance: 1n }), Account.Withdrawn({ amount: 0n })), refusal)
    assert.throws(() => ten.when(withdraw(3n)).thenEvents(Account.Withdrawn({ amount: 0n })), refusal)
    assert.match(
      reportOf(() => ten.when(withdraw(0n)).thenEvents(Account.Withdrawn({ amount: 1n }))),
      /^Account: the decision's events: Withdrawn \{"amount":0n\} can't be recorded: Expected/
    )
    const wrongOrder: ReadonlyArray<Aggregate.Event<typeof Account>> = [Account.Deposited({ amount: 1n })]
    assert.throws(
      () => given(Account, ...wrongOrder),
      /can't be recorded: it changes the aggregate, which does not exist/
    )
    // a decision that does not match its types is refused as a repository refuses it
    const opened = Account.createOrDecide(() => Account.Opened({ balance: 1n }))
    assert.match(
      reportOf(() => ten.when(opened).thenNothing()),
      /^Account: the decision's events: Opened .* can't be recorded: it creates the aggregate, which already exists/
    )
  })

  it("detects an event that is read back as another than the decision returned", () => {
    const Lossy = Aggregate.make("Lossy", {
      state: Schema.Int,
      creation: {
        Begun: {
          name: Schema.String.pipe(
            Schema.decodeTo(Schema.String, {
              decode: SchemaGetter.transform((text) => text),
              encode: SchemaGetter.transform((text) => text.toLowerCase())
            })
          )
        }
      },
      events: {},
      reduce: { Begun: () => 0 }
    })
    const report = reportOf(() =>
      given(Lossy)
        .when(Lossy.Begun({ name: "Ada" }))
        .thenNothing()
    )
    assert.match(
      report,
      /Begun \{"name":"Ada"\} can't be recorded: it would be read back as another value at \["name"\]/
    )
    given(Lossy, Lossy.Begun({ name: "ada" })).thenState(0)
  })

  it("detects a reducer that refuses the events of the decision, or the history", () => {
    assert.strictEqual(
      reportOf(() => ten.when(Account.decide(() => Account.Broken())).thenEvents(Account.Broken())),
      `Account: the decision's events: the reducer of Account.Broken threw: the reducer is broken\n\n${GIVEN.trimEnd()}`
    )
    assert.throws(
      () => given(Account, Account.Opened({ balance: 1n }), Account.Broken()),
      /^the reducer of Account\.Broken threw: the reducer is broken$/
    )
  })

  it("compares events of a newer version, classes and sets by their recorded form", () => {
    class Size extends Schema.Class<Size>("Size")({ height: Schema.Finite }) {}
    const Thing = Aggregate.make("Thing", {
      state: Schema.Int,
      creation: { Made: {} },
      events: {
        Sized: Size,
        Tagged: { tags: Schema.ReadonlySet(Schema.String) },
        Named: Evolution.version(1, { n: Schema.String }).version(2, { name: Schema.String }, ({ n }) => ({ name: n }))
      },
      reduce: { Made: () => 0, Sized: (n) => n, Tagged: (n) => n, Named: (n) => n }
    })
    const thing = given(Thing, Thing.Made(), Thing.Sized({ height: 1 }))
    thing.when(Thing.Sized({ height: -0 })).thenEvents(Thing.Sized({ height: 0 }))
    thing.when(Thing.Tagged({ tags: new Set(["a", "b"]) })).thenEvents(Thing.Tagged({ tags: new Set(["b", "a"]) }))
    thing.when(Thing.Named({ name: "a" })).thenEvents(Thing.Named({ name: "a" }))
    reportOf(() => thing.when(Thing.Sized({ height: 1 })).thenEvents(Thing.Sized({ height: 2 })))
    reportOf(() =>
      thing.when(Thing.Tagged({ tags: new Set(["a"]) })).thenEvents(Thing.Tagged({ tags: new Set(["b"]) }))
    )
  })
})

describe("thenNothing", () => {
  it("accepts a decision without events, of an existing aggregate", () => {
    ten.when(Account.decide(() => undefined)).thenNothing()
    ten.when(Account.decide(() => Effect.succeed([]))).thenNothing()
    assert.match(
      reportOf(() =>
        given(Account)
          .when(Account.createOrDecide(() => []))
          .thenNothing()
      ),
      /^Account: the decision failed, but it was expected to record nothing\n\ngiven\n {2}nothing\n\nexpected\n {2}nothing\n\nfailure\n {2}AggregateNotFound /
    )
  })

  it("shows the events", () => {
    assert.strictEqual(
      reportOf(() => ten.when(withdraw(3n)).thenNothing()),
      `Account: events were recorded, but none were expected

${GIVEN}
recorded
  Withdrawn {"amount":3n}`
    )
  })
})

describe("thenFails", () => {
  it("accepts the failure, its tag, or its tag and some of its fields", () => {
    const refused = ten.when(withdraw(12n))
    refused.thenFails(new Overdraft({ missing: 2n }))
    refused.thenFails("Overdraft")
    refused.thenFails("Overdraft", { missing: 2n })
    given(Account).when(withdraw(1n)).thenFails("AggregateNotFound", { aggregate: "Account" })
    ten.when(Account.Opened({ balance: 1n })).thenFails("AggregateAlreadyExists", { version: 0 })
    ten.when(Account.create(() => Account.Opened({ balance: 1n }))).thenFails("AggregateAlreadyExists")
    // failures need no tag
    ten.when(Account.decide(() => Effect.fail("too poor" as const))).thenFails("too poor")
    ten.when(Account.decide(() => Effect.fail({ code: 7 }))).thenFails({ code: 7 })
    ten.when(Account.decide(() => Effect.fail(new Error("a")))).thenFails(new Error("a"))
  })

  it("shows the failure that differs", () => {
    const refused = ten.when(withdraw(12n))
    assert.strictEqual(
      reportOf(() => refused.thenFails(new Overdraft({ missing: 3n }))),
      `Account: the decision failed with another failure than expected

${GIVEN}
difference (- expected, + failed with)
- Overdraft {"missing":3n}
+ Overdraft {"missing":2n}`
    )
    const difference = (report: string) => report.slice(report.indexOf("difference"))
    assert.strictEqual(
      difference(reportOf(() => refused.thenFails("Overdraft", { missing: 3n }))),
      'difference (- expected, + failed with)\n- Overdraft {"missing":3n}\n+ Overdraft {"missing":2n}'
    )
    assert.strictEqual(
      difference(reportOf(() => refused.thenFails("AggregateNotFound"))),
      'difference (- expected, + failed with)\n- AggregateNotFound\n+ Overdraft {"missing":2n}'
    )
    const error = ten.when(Account.decide(() => Effect.fail(new Error("a"))))
    assert.strictEqual(
      difference(reportOf(() => error.thenFails(new Error("b")))),
      "difference (- expected, + failed with)\n- Error: b\n+ Error: a"
    )
    // an error of another class is a different one, even with the same message
    class Other extends Error {}
    reportOf(() => error.thenFails(new Other("a")))
  })

  it("shows the events in place of which a failure was expected", () => {
    assert.strictEqual(
      reportOf(() => ten.when(withdraw(3n)).thenFails("Overdraft", { missing: 1n })),
      `Account: the decision succeeded, but a failure was expected

${GIVEN}
expected failure
  Overdraft {"missing":1n}

recorded
  Withdrawn {"amount":3n}`
    )
  })

  it("does not accept a decision that throws", () => {
    const throwing = Account.decide((): Effect.Effect<never, Overdraft> => {
      throw new Error("oops")
    })
    assert.match(
      reportOf(() => ten.when(throwing).thenFails("Overdraft")),
      /^Account: the decision threw: oops\n/
    )
    reportOf(() => ten.when(throwing).thenNothing())
    reportOf(() => ten.when(throwing).thenState({ balance: 10n }))
  })
})

describe("thenState", () => {
  it("accepts the state of the history, and the one after the decision", () => {
    ten.thenState({ balance: 10n })
    given(Account).thenState(undefined)
    ten.when(withdraw(3n)).thenState({ balance: 7n })
    ten.when(Account.decide(() => [])).thenState({ balance: 10n })
  })

  it("shows the difference", () => {
    assert.strictEqual(
      reportOf(() => ten.thenState({ balance: 11n })),
      `Account: the state differs from the expected one

given
  Opened {"balance":10n}

difference (- expected, + came out)
- {"balance":11n}
+ {"balance":10n}`
    )
    assert.strictEqual(
      reportOf(() => ten.when(withdraw(3n)).thenState({ balance: 8n })),
      `Account: the state differs from the expected one

${GIVEN}
recorded
  Withdrawn {"amount":3n}

difference (- expected, + came out)
- {"balance":8n}
+ {"balance":7n}`
    )
    reportOf(() => given(Account).thenState({ balance: 0n }))
    reportOf(() => ten.thenState(undefined))
    assert.match(
      reportOf(() => ten.when(withdraw(12n)).thenState({ balance: -2n })),
      /^Account: the decision failed, but a state was expected\n/
    )
  })
})

describe("a decision", () => {
  it("gets a state of its own: no one else sees its changes", () => {
    const List = Aggregate.make("List", {
      state: Schema.mutable(Schema.Array(Schema.String)),
      creation: { Begun: {} },
      events: { Added: { item: Schema.String } },
      reduce: { Begun: () => [], Added: (list, { item }) => [...list, item] }
    })
    const begun = given(List, List.Begun())
    const add = List.decide((list) => List.Added({ item: `item ${list.push("mine")}` }))
    begun.when(add).thenEvents(List.Added({ item: "item 1" }))
    begun.when(add).thenEvents(List.Added({ item: "item 1" }))
    begun.thenState([])
  })

  it.effect("that waits is tested as an Effect", () =>
    Effect.gen(function* () {
      const later = Account.decide(() =>
        Effect.as(Effect.yieldNow, Account.Withdrawn({ amount: 1n })).pipe(Effect.delay("1 hour"))
      )
      assert.throws(
        () => ten.when(later),
        /^the decision does not end at once: use whenEffect, which returns an Effect$/
      )
      const fiber = yield* Effect.forkChild(ten.whenEffect(later), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      const decided = yield* Fiber.join(fiber)
      decided.thenEvents(Account.Withdrawn({ amount: 1n }))
      reportOf(() => decided.thenNothing())
      const refused = yield* ten.whenEffect(withdraw(12n))
      refused.thenFails("Overdraft")
    })
  )

  it.effect("that is interrupted interrupts", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(ten.whenEffect(Account.decide(() => Effect.interrupt)))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    })
  )
})
