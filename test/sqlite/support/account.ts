/** The aggregate of these tests: an account, whose events say which of several writers recorded them. */
import { Effect, Schedule, Schema } from "effect"
import { Aggregate, Repository } from "effect-eventsourcing"

export class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}

export const Account = Aggregate.make("Account", {
  state: Schema.Struct({ owner: Schema.String, balance: Schema.Int, frozen: Schema.Boolean }),
  creation: { Opened: { owner: Schema.String } },
  events: {
    Deposited: { amount: Schema.Int, by: Schema.String },
    Withdrawn: { amount: Schema.Int, by: Schema.String },
    Frozen: {},
    Thawed: {}
  },
  reduce: {
    Opened: ({ owner }) => ({ owner, balance: 0, frozen: false }),
    Deposited: (account, { amount }) => ({ ...account, balance: account.balance + amount }),
    Withdrawn: (account, { amount }) => ({ ...account, balance: account.balance - amount }),
    Frozen: (account) => ({ ...account, frozen: true }),
    Thawed: (account) => ({ ...account, frozen: false })
  }
})

export const deposit = (amount: number, by: string) => Account.decide(() => Account.Deposited({ amount, by }))

/** Fails if the balance is too low. */
export const withdraw = (amount: number, by: string) =>
  Account.decide(({ balance }) =>
    balance < amount ? Effect.fail(new Overdrawn({ balance })) : Effect.succeed(Account.Withdrawn({ amount, by }))
  )

/** Records nothing if the account is frozen already. */
export const freeze = Account.decide(({ frozen }) => (frozen ? [] : [Account.Frozen()]))

export const thaw = Account.decide(({ frozen }) => (frozen ? [Account.Thawed()] : []))

/** Deposits of 1 on several accounts, by many fibers at once. */
export interface Storm {
  readonly names: ReadonlyArray<string>
  /** How many deposits on each account. */
  readonly times: number
  /** Each event says who recorded it: `<by> <number>`. */
  readonly by: string
}

/** Makes the deposits; returns how many decisions that took: more than there are deposits if there were conflicts. */
export const storm = Effect.fnUntraced(function* ({ names, times, by }: Storm) {
  const accounts = yield* Repository.of(Account)
  let decisions = 0
  const depositOne = (name: string, n: number) =>
    accounts.execute(
      Account.id(name),
      Account.decide(() => {
        decisions++
        return Account.Deposited({ amount: 1, by: `${by} ${n}` })
      })
    )
  yield* Effect.forEach(
    names.flatMap((name) => Array.from({ length: times }, (_, n) => [name, n] as const)),
    ([name, n]) => depositOne(name, n),
    { concurrency: 32, discard: true }
  )
  return decisions
})

/** Options for many writers on few streams, which conflict all the time and must all succeed in the end. */
export const manyWriters = {
  conflictRetry: Schedule.jittered(Schedule.spaced("2 millis")),
  lockTimeout: "30 seconds"
} as const
