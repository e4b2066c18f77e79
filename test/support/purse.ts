/** Purses of coins, and transfers between them: the typical transaction. */
import { Context, Effect, Schedule, Schema } from "effect"
import { Aggregate, Recorder, Repository } from "effect-eventsourcing"
import type { Log } from "./memoryLog.ts"
import { makeLog, open } from "./memoryLog.ts"

export class Overdraft extends Schema.TaggedError<Overdraft>()("Overdraft", { short: Schema.Int }) {}

export const Purse = Aggregate.make("Purse", {
  state: Schema.Int,
  creation: { Opened: { coins: Schema.Int } },
  events: { Taken: { coins: Schema.Natural }, Put: { coins: Schema.Natural }, Torn: { coins: Schema.Natural } },
  reduce: {
    Opened: ({ coins }) => coins,
    Taken: (purse, { coins }) => purse - coins,
    Put: (purse, { coins }) => purse + coins,
    Torn: () => {
      throw new Error("no reducer can do this")
    }
  }
})
export const [ada, bob, cleo] = [Purse.Id.make("ada"), Purse.Id.make("bob"), Purse.Id.make("cleo")]

export type Service = Repository.Repository["Service"]

export const transfer = (repository: Service, from: typeof ada, to: typeof ada, coins: number) =>
  repository.transaction({ from: Repository.existing(Purse, from), to: Repository.existing(Purse, to) }, ({ from }) =>
    from < coins
      ? Effect.fail(new Overdraft({ short: coins - from }))
      : { from: Purse.Taken({ coins }), to: Purse.Put({ coins }) }
  )

/** Ada with ten coins and Bob with none, and a process on their log. */
export const purses = Effect.fnUntraced(function* (
  options: Repository.Options = { conflictRetry: Schedule.recurs(5) }
) {
  const log = yield* makeLog
  const { repository } = yield* open(log, options)
  yield* repository.of(Purse).execute(ada, Purse.Opened({ coins: 10 }))
  yield* repository.of(Purse).execute(bob, Purse.Opened({ coins: 0 }))
  return { log, repository }
})

export const coinsOf = (repository: Service, id: typeof ada) =>
  Effect.map(repository.of(Purse).get(id), ({ state }) => state)

export const headOf = (log: Log) => Context.get(log, Recorder.Recorder).head
