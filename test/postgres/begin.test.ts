/** Transactions on connections that must respond in time: attempts that are given up while one begins. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import * as Unserved from "../../src/postgres/unserved.ts"
import { url } from "./support/database.ts"

/** A client with one connection, and statements that must be answered in time. */
const openClient = Effect.gen(function* () {
  const client = yield* Effect.provide(
    PgClient.make({ url: Redacted.make(url()), maxConnections: 1 }),
    Layer.fresh(Reactivity.layer)
  )
  return { client, patience: Unserved.make(client) }
})

/** Whether the one connection is outside any transaction: within one, `now()` stands still. */
const isFree = (client: PgClient.PgClient) => {
  const now = Effect.map(client<{ readonly now: string }>`SELECT now()::text AS now`, ([row]) => row?.now)
  return Effect.zipWith(now, now, (one, other) => one !== other)
}

/** Like the transactions of views. */
const inTransaction = <A, E, R>(client: PgClient.PgClient, self: Effect.Effect<A, E, R>) =>
  Effect.provideService(client.withTransaction(self), SqlClient.BeginTransaction, "BEGIN")

const turns = (count: number) =>
  Effect.callback<void>((resume) => {
    const next = (left: number): void => {
      if (left === 0) resume(Effect.void)
      else setImmediate(() => next(left - 1))
    }
    next(count)
  })

describe("a transaction that is interrupted while it begins", () => {
  it.live("leaves its connection in no transaction", () =>
    Effect.gen(function* () {
      const { client, patience } = yield* openClient
      yield* isFree(client)
      let begun = 0
      for (let n = 0; n < 300; n++) {
        const inside = Effect.sync(() => {
          begun++
        })
        const fiber = yield* Effect.forkChild(
          patience.transaction("test", inTransaction(client, Effect.andThen(inside, Effect.never))),
          { startImmediately: true }
        )
        yield* turns(n % 30)
        yield* Fiber.interrupt(fiber)
        assert.isTrue(yield* isFree(client), `after ${n % 30} turns`)
      }
      assert.isAbove(begun, 0)
      assert.isBelow(begun, 300)
    })
  )

  it.live("begins where the caller can't be interrupted", () =>
    Effect.gen(function* () {
      const { client, patience } = yield* openClient
      const isWaiting = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const self = Effect.gen(function* () {
        yield* Deferred.succeed(isWaiting, undefined)
        yield* Deferred.await(interrupted)
        return yield* patience.transaction("test", inTransaction(client, client`SELECT 1`))
      })
      let exit: Exit.Exit<unknown, unknown> | undefined
      const fiber = yield* Effect.forkChild(
        Effect.uninterruptible(
          Effect.map(Effect.exit(self), (ended) => {
            exit = ended
          })
        )
      )
      yield* Deferred.await(isWaiting)
      fiber.interruptUnsafe()
      yield* Deferred.succeed(interrupted, undefined)
      yield* Fiber.await(fiber)
      assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
    })
  )
})
