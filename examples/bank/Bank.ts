/** The application: opens accounts and moves money between them. */
import { Effect } from "effect"
import { Repository } from "effect-eventsourcing"
import { Account, InvalidAmount, Overdraft } from "./Account.ts"

const account = (owner: string) => Repository.existing(Account, Account.id(owner))

export const makeBank = Effect.gen(function* () {
  const accounts = yield* Repository.of(Account)
  return {
    /** Opens an account with a first deposit: two events, recorded together. */
    open: (owner: string, amount: bigint) =>
      accounts.execute(Account.id(owner), [Account.Opened({ owner }), Account.Deposited({ amount })]),

    /**
     * Moves money: one decision over two accounts, recorded in one append to both or not at all. If either has changed
     * meanwhile, both are read and decided on again, so none is ever overdrawn.
     */
    transfer: (sender: string, receiver: string, amount: bigint) =>
      Repository.transaction({ from: account(sender), to: account(receiver) }, ({ from, to }) => {
        if (amount <= 0n) return Effect.fail(new InvalidAmount({ amount }))
        if (amount > from.balance) return Effect.fail(new Overdraft({ ...from, amount }))
        return Effect.succeed({
          from: Account.TransferSent({ amount, to: to.owner }),
          to: Account.TransferReceived({ amount, from: from.owner })
        })
      }),

    /** What is in these accounts at one moment: a transaction that records nothing. */
    balances: (owners: ReadonlyArray<string>) =>
      Repository.transaction(Object.fromEntries(owners.map((owner) => [owner, account(owner)])), () => ({})).pipe(
        Effect.map((accounts) => Object.values(accounts).map(({ state }) => state))
      )
  }
})
