/** A transfer is one decision over two accounts: given both of them, then the events of both, or why there are none. */
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { givenAll, stream } from "effect-eventsourcing/testing"
import { testAggregate } from "effect-eventsourcing/testing/vitest"
import { Account, InvalidAmount, Overdraft } from "./Account.ts"
import { makeBank } from "./Bank.ts"

const [ada, ben] = [Account.id("Ada"), Account.id("Ben")]
const transfer = (amount: bigint) => Effect.flatMap(makeBank, (bank) => bank.transfer("Ada", "Ben", amount))

const accounts = givenAll(
  stream(Account, ada, Account.Opened({ owner: "Ada" }), Account.Deposited({ amount: 100n })),
  stream(Account, ben, Account.Opened({ owner: "Ben" }))
)

describe("a transfer", () => {
  it("is recorded in both accounts", () =>
    accounts
      .when(transfer(30n))
      .thenEvents(
        stream(Account, ada, Account.TransferSent({ amount: 30n, to: "Ben" })),
        stream(Account, ben, Account.TransferReceived({ amount: 30n, from: "Ada" }))
      ))

  it("overdraws no account", () => {
    accounts.when(transfer(101n)).thenFails(new Overdraft({ owner: "Ada", balance: 100n, amount: 101n }))
    accounts.when(transfer(0n)).thenFails(new InvalidAmount({ amount: 0n }))
  })

  it("needs both accounts", () =>
    givenAll(stream(Account, ben, Account.Opened({ owner: "Ben" })))
      .when(transfer(1n))
      .thenFails("AggregateNotFound", { id: ada }))
})

testAggregate(Account)
