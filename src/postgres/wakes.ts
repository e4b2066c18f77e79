import { PgClient } from "@effect/sql-pg"
import type { Duration } from "effect"
import { Effect, Fiber, Queue, RcRef, Schedule, Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import type { ChangeSignal } from "../internal/following/changeSignal.ts"
import { makeChangeSignal } from "../internal/following/changeSignal.ts"
import type { Position } from "../Position.ts"
import { toRecorderError } from "./errors.ts"
import type { PostgresDatabase } from "./PostgresDatabase.ts"

/** What wakes the followers of a log. */
export interface Wakes {
  /** The signal that followers wait for. As long as it is held, the process listens for notifications of others. */
  readonly changes: Effect.Effect<ChangeSignal, never, Scope.Scope>
  /** Notifies the followers of this process that the log has reached a position. */
  readonly reached: (position: Position) => void
}

/** How long to wait before listening again, up to 5 s. Polling continues in the meantime. */
const relisten = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("5 seconds")]).pipe(Schedule.jittered)

/** How long closing a log waits for the end of its listening connection, in milliseconds. */
const CLOSING = 1000

/**
 * One listening connection for all followers of a process, with a fallback poll for what it misses: while the
 * connection is lost, or if there is a pooler in between.
 */
export const make = Effect.fnUntraced(function* (
  database: PostgresDatabase,
  head: Effect.Effect<Position | undefined, RecorderError>,
  options: { readonly listen: boolean; readonly pollInterval: Duration.Input }
): Effect.fn.Return<Wakes, never, Scope.Scope> {
  const changes = yield* Effect.acquireRelease(Effect.sync(makeChangeSignal), (made) => Effect.sync(() => made.close()))
  let known: Position | undefined
  const reached = (position: Position) => {
    if (known !== undefined && position <= known) return
    known = position
    changes.notify()
  }

  // a connection of its own: a pool would have one less, and a pool of one would be exhausted
  const listenOnce = Effect.scoped(
    Effect.gen(function* () {
      const held = yield* Scope.make()
      // nobody waits for longer for a silent connection to end
      yield* Effect.addFinalizer((exit) =>
        Effect.flatMap(Effect.forkDetach(Scope.close(held, exit), { startImmediately: true }), (closing) =>
          Effect.timeoutOption(Effect.interruptible(Fiber.await(closing)), CLOSING)
        )
      )
      const client = yield* PgClient.makeClient(database.client.config).pipe(
        Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make),
        Scope.provide(held)
      )
      // LISTEN itself can't be abandoned while it waits for its answer
      yield* database.patience.limit("listen", client.unsafe("SELECT 1").unprepared)
      const received = yield* Scope.provide(client.listen(database.channel), held)
      // what was announced while nobody listened
      changes.notify()
      yield* Effect.logDebug("listening for appends", { channel: database.channel })
      return yield* Effect.forever(
        Effect.map(Queue.takeAll(received), (notifications) => {
          for (const { payload } of notifications) {
            if (/^\d+$/.test(payload)) reached(BigInt(payload) as Position)
          }
        })
      )
    })
  )
  const listening = listenOnce.pipe(
    Effect.tapError((error) =>
      Effect.logWarning(
        `followers are not notified of appends for now, and poll instead: ${(SqlError.isSqlError(error) ? toRecorderError("listen", error) : error).message}`
      )
    ),
    Effect.retry(relisten),
    Effect.ignore
  )
  const polling = head.pipe(
    Effect.tap((position) =>
      Effect.sync(() => {
        // a position below the known one: the log was restored from a backup, or a notification was wrong
        if (position === known) return
        known = position
        changes.notify()
      })
    ),
    // followers notice the failure in their own read, and report it
    Effect.catch(() => Effect.sync(changes.notify)),
    Effect.repeat(Schedule.spaced(options.pollInterval))
  )
  const watcher = yield* RcRef.make({
    acquire: Effect.andThen(Effect.forkScoped(polling), options.listen ? Effect.forkScoped(listening) : Effect.void)
  })
  return { changes: Effect.as(RcRef.get(watcher), changes), reached }
})
