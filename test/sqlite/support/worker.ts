/** A program that works on a SQLite log as the test's own process does. */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { Recorder, Repository } from "effect-eventsourcing"
import type { SqliteServices } from "effect-eventsourcing/sqlite"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Protocol from "../../support/remoteCalls.ts"
import * as Domain from "./account.ts"
import { Account } from "./account.ts"

let opened: { readonly scope: Scope.Closeable; readonly context: Context.Context<SqliteServices> } | undefined

const run = <A, E>(effect: Effect.Effect<A, E, SqliteServices>): Effect.Effect<A, E> =>
  opened === undefined ? Effect.die("no file is open") : Effect.provideContext(effect, opened.context)

const close = Effect.suspend(() => {
  const scope = opened?.scope
  opened = undefined
  return scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
})

const open = (filename: string) =>
  Effect.gen(function* () {
    yield* close
    const scope = yield* Scope.make()
    const layer = SqliteLayer({ filename, ...Domain.manyWriters })
    const context = yield* Layer.buildWithScope(layer, scope)
    opened = { scope, context }
    return Context.get(context, Recorder.Recorder).logId
  })

export const commands = {
  /** Opens a file in place of the previous one, and returns the id of its log. */
  open,
  /** The same, at a moment (in milliseconds since the epoch) that it waits for without yielding the processor. */
  openAt: ({ filename, moment }: { readonly filename: string; readonly moment: number }) =>
    Effect.suspend(() => {
      while (Date.now() < moment);
      return open(filename)
    }),
  close: () => close,
  /** Becomes a user without special rights; only root can. */
  becomeNobody: () =>
    Effect.sync(() => {
      process.setgid?.(65534)
      process.setuid?.(65534)
    }),
  openAccount: ({ name, owner }: { readonly name: string; readonly owner: string }) =>
    run(
      Effect.gen(function* () {
        const accounts = yield* Repository.of(Account)
        return (yield* accounts.execute(Account.id(name), Account.Opened({ owner }))).version
      })
    ),
  deposit: ({ name, amount, by }: { readonly name: string; readonly amount: number; readonly by: string }) =>
    run(
      Effect.gen(function* () {
        const accounts = yield* Repository.of(Account)
        return (yield* accounts.execute(Account.id(name), Domain.deposit(amount, by))).version
      })
    ),
  withdraw: ({ name, amount, by }: { readonly name: string; readonly amount: number; readonly by: string }) =>
    run(
      Effect.gen(function* () {
        const accounts = yield* Repository.of(Account)
        return (yield* accounts.execute(Account.id(name), Domain.withdraw(amount, by))).version
      })
    ),
  setFrozen: ({ name, frozen }: { readonly name: string; readonly frozen: boolean }) =>
    run(
      Effect.gen(function* () {
        const accounts = yield* Repository.of(Account)
        return (yield* accounts.execute(Account.id(name), frozen ? Domain.freeze : Domain.thaw)).version
      })
    ),
  /** Opens each account unless another process did; returns the names of those that it opened. */
  race: ({ names, owner }: { readonly names: ReadonlyArray<string>; readonly owner: string }) =>
    run(
      Effect.gen(function* () {
        const accounts = yield* Repository.of(Account)
        const outcomes = yield* Effect.forEach(
          names,
          (name) =>
            accounts.execute(Account.id(name), Account.Opened({ owner })).pipe(
              Effect.as([name]),
              Effect.catchTag("AggregateAlreadyExists", () => Effect.succeed([]))
            ),
          { concurrency: 4 }
        )
        return outcomes.flat()
      })
    ),
  storm: (options: Domain.Storm) => run(Domain.storm(options))
} satisfies Protocol.Commands

export type WorkerCommands = typeof commands

Protocol.serve(commands)
