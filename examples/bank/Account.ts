/** An account. Amounts are whole cents as `bigint`: money is no floating-point number. */
import { Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

const Amount = Schema.BigInt.check(Schema.isGreaterThanBigInt(0n))

export const Account = Aggregate.make("Account", {
  state: Schema.Struct({ owner: Schema.String, balance: Schema.BigInt }),
  creation: {
    Opened: { owner: Schema.NonEmptyString }
  },
  events: {
    Deposited: { amount: Amount },
    TransferSent: { amount: Amount, to: Schema.String },
    TransferReceived: { amount: Amount, from: Schema.String }
  },
  reduce: {
    Opened: ({ owner }) => ({ owner, balance: 0n }),
    Deposited: (account, { amount }) => ({ ...account, balance: account.balance + amount }),
    TransferSent: (account, { amount }) => ({ ...account, balance: account.balance - amount }),
    TransferReceived: (account, { amount }) => ({ ...account, balance: account.balance + amount })
  }
})

export class InvalidAmount extends Schema.TaggedError<InvalidAmount>()("InvalidAmount", { amount: Schema.BigInt }) {
  override get message(): string {
    return `an amount is more than nothing, and not ${format(this.amount)}`
  }
}

export class Overdraft extends Schema.TaggedError<Overdraft>()("Overdraft", {
  owner: Schema.String,
  balance: Schema.BigInt,
  amount: Schema.BigInt
}) {
  override get message(): string {
    return `${this.owner} has ${format(this.balance)} and can't send ${format(this.amount)}`
  }
}

/** Cents as a person reads them: 1234n is "12.34". */
export const format = (cents: bigint): string => {
  const digits = (cents < 0n ? -cents : cents).toString().padStart(3, "0")
  return `${cents < 0n ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`
}
