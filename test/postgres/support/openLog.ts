import { PgClient } from "@effect/sql-pg"
import type { Scope } from "effect"
import { Context, Deferred, Effect, Fiber, Layer, Stream } from "effect"
import { Recorder, StreamName } from "effect-eventsourcing"
import type { RecorderOptions, Services } from "effect-eventsourcing/postgres"
import { layerRecorders } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { eventually } from "../../support/eventually.ts"
import { connect } from "./database.ts"

/** A log and its client, which joins the user's own transactions. */
export interface Log {
  readonly sql: PgClient.PgClient
  readonly services: Context.Context<Services>
  readonly recorder: Recorder.Recorder["Service"]
  /** Appends events after the version that the stream has. */
  readonly append: (name: string, count?: number) => Effect.Effect<Recorder.Appended, unknown>
  /** The process id of the backend, within a transaction. */
  readonly pid: Effect.Effect<number, unknown>
  /** The process ids of the backends that wait for the position lock of this log. */
  readonly waiting: Effect.Effect<ReadonlyArray<number>, unknown>
}

/** Opens the log of a schema on a pool of its own. */
export const openLog = (
  schema: string,
  options: RecorderOptions & { readonly client?: Partial<PgClient.PgPoolConfig> } = {}
): Effect.Effect<Log, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const sql = yield* connect(options.client)
    const services = yield* Layer.build(
      Layer.fresh(Layer.provide(layerRecorders({ schema, ...options }), Layer.succeed(PgClient.PgClient, sql)))
    )
    const recorder = Context.get(services, Recorder.Recorder)
    const append = (name: string, count = 1) =>
      Effect.gen(function* () {
        const stream = StreamName.StreamName.make(name)
        const [last] = yield* recorder.readStream({ stream, direction: "backward", limit: 1 })
        return yield* recorder.append({ stream, expected: last?.version ?? "NoStream", events: storedEvents(count) })
      })
    const pid = Effect.map(sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`, ([row]) => row?.pid ?? 0)
    // other logs on the same server belong to other tests
    const waiting = Effect.map(
      sql<{ pid: number }>`
        SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND NOT granted AND objid = to_regclass(${`"${schema}".stored_events`})
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      (rows) => rows.map(({ pid }) => pid)
    )
    return { sql, services, recorder, append, pid, waiting }
  })

/** A transaction of the user's that has appended and is not committed yet. */
export interface Held {
  /** The process id of its backend. */
  readonly pid: number
  /** Commits it, and waits for that. */
  readonly commit: Effect.Effect<void, unknown>
  /** Rolls it back, and waits for that. */
  readonly rollBack: Effect.Effect<void>
  readonly fiber: Fiber.Fiber<void, unknown>
}

/** Begins a transaction that appends and then stays open; rolled back with the scope. */
export const hold = (log: Log, work: Effect.Effect<unknown, unknown>): Effect.Effect<Held, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const held = yield* Deferred.make<number>()
    const released = yield* Deferred.make<"commit" | "roll back">()
    const transaction = log.sql.withTransaction(
      Effect.gen(function* () {
        yield* work
        yield* Deferred.succeed(held, yield* log.pid)
        if ((yield* Deferred.await(released)) === "roll back") yield* Effect.fail("roll back" as const)
      })
    )
    const fiber = yield* Effect.forkScoped(transaction, { startImmediately: true })
    const pid = yield* Effect.raceFirst(
      Deferred.await(held),
      Effect.andThen(Fiber.join(fiber), Effect.die(new Error("the transaction ended")))
    )
    return {
      pid,
      fiber,
      commit: Effect.andThen(Deferred.succeed(released, "commit"), Fiber.join(fiber)),
      rollBack: Effect.andThen(Deferred.succeed(released, "roll back"), Effect.asVoid(Fiber.await(fiber)))
    }
  })

/** What a follower has seen: the positions in the order in which they arrived, each after those before it. */
export interface Seen {
  readonly events: ReadonlyArray<string>
  /** Waits until it has seen this many. */
  readonly until: (count: number) => Effect.Effect<void, unknown>
}

/** Follows a log from its start; fails the test if a position arrives that is not after the last one. */
export const watch = (recorder: Recorder.Recorder["Service"]): Effect.Effect<Seen, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events: Array<string> = []
    const waiting = new Set<() => void>()
    let last = -1n
    const fiber = yield* recorder.follow({}).pipe(
      Stream.runForEach(({ notifications }) =>
        Effect.sync(() => {
          for (const { position, stream, version } of notifications) {
            if (position <= last) throw new Error(`position ${position} came behind ${last}`)
            last = position
            events.push(`${stream}@${version}`)
          }
          for (const look of waiting) look()
        })
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    const reached = (count: number) =>
      Effect.callback<void>((resume) => {
        const look = () => {
          if (events.length >= count) resume(Effect.void)
        }
        waiting.add(look)
        look()
        return Effect.sync(() => waiting.delete(look))
      })
    return {
      events,
      until: (count) => Effect.raceFirst(reached(count), Effect.andThen(Fiber.join(fiber), Effect.never))
    }
  })

/** Waits until this many backends wait for the position lock of a log. */
export const untilWaiting = ({ waiting }: Pick<Log, "waiting">, count = 1): Effect.Effect<void, unknown> =>
  eventually(
    `${count} wait`,
    Effect.map(waiting, ({ length }) => length >= count)
  )
