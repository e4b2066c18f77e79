/** Detects statements that wait because their connection is not served. */
import { PgClient } from "@effect/sql-pg"
import { Duration, Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlConnection } from "effect/sql"
import { SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { isRecorderUnavailable, RecorderUnavailable } from "../EventSourcingError.ts"
import type { InTime } from "./beginningInTime.ts"
import { BeginningInTime } from "./beginningInTime.ts"
import { reserveInTime } from "./reserveInTime.ts"

/** Ends waits for responses that will not arrive for now. */
export interface Patience {
  /**
   * How long connecting may take, and how long a statement may be unanswered before its connection is checked; in
   * milliseconds.
   */
  readonly wait: number
  /**
   * Runs statements, up to the moment when `answered` is called or to their end. If there is no answer in time, and a
   * new connection is not served either, they are interrupted and fail. If a new connection is served, the statement
   * itself takes its time (it waits for a lock, or reads much) and continues; but if `times` is given, for no longer
   * than that many times the time for connecting: then the connection itself is assumed to be silent, and closed.
   */
  readonly bound: <A, E, R>(
    operation: string,
    statements: (answered: () => void) => Effect.Effect<A, E, R>,
    times?: number
  ) => Effect.Effect<A, E | RecorderError, R>
  /**
   * Runs something short on a connection of its own. It may wait for the connection as in `bound`; from then on it
   * fails if there is no answer in time, and the connection is given up: a connection that the network has forgotten
   * stays silent, however well others are served.
   */
  readonly brief: <A, E, R>(
    operation: string,
    work: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderError | SqlError.SqlError, R>
  /**
   * Runs a transaction of the client on a connection of its own. Its BEGIN must be answered in time, as in `brief`;
   * what follows takes its time. The transaction is the outermost one, and the first that `transaction` begins.
   */
  readonly transaction: <A, E, R>(
    operation: string,
    transaction: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderError | SqlError.SqlError, R>
  /** Fails if the statements have no answer in time, without any further check. */
  readonly limit: <A, E, R>(
    operation: string,
    statements: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderError, R>
}

interface Waiting {
  /** How many checks there were before it began. */
  readonly since: number
  /** After how many checks it is given up even if others are served. */
  readonly times: number
  readonly give: (what: string, times: number) => void
}

const UNSERVED = "and a new connection has none either"

/** The level of a connection that is held and is not in a transaction. */
const OUTSIDE = -1

const HELP =
  "the server does not respond, or a pooler in front of it has no server connection left; PgBouncer in session mode needs a pool_size of at least maxConnections + 1 for each process"

/** Watches the statements of a client that are run through it. */
export const make = (client: PgClient.PgClient): Patience => {
  const wait = waitOf(client.config)
  const waiting = new Set<Waiting>()
  let looks = 0
  let isLooking = false

  const unavailable = (operation: string, what: string, times = 1): RecorderError =>
    new RecorderUnavailable({
      operation,
      reason: `PostgreSQL: no answer for ${times * wait} ms, ${what}; ${HELP}`,
      waited: times * wait
    })

  /** Not Effect's clock, whose timer would keep a process alive that has finished its work. */
  const lookLater = (): void => {
    isLooking = true
    setTimeout(look, wait).unref()
  }
  const look = (): void => {
    isLooking = false
    looks++
    for (const { since, times, give } of waiting) if (looks - since > times) give("the connection is silent", times)
    if (waiting.size === 0) return
    // those that were already waiting at the last check
    const late = [...waiting].filter(({ since }) => since < looks - 1)
    if (late.length === 0) {
      lookLater()
      return
    }
    isLooking = true
    Effect.runFork(isServed(client, wait)).addObserver((exit) => {
      if (!(Exit.isSuccess(exit) && exit.value)) for (const { give } of late) give(UNSERVED, 1)
      if (waiting.size === 0) isLooking = false
      else lookLater()
    })
  }

  const bound: Patience["bound"] = (operation, statements, times = Number.POSITIVE_INFINITY) =>
    Effect.suspend(() => {
      let one: Waiting | undefined
      const answered = () => {
        if (one !== undefined) waiting.delete(one)
      }
      return Effect.flatMap(Effect.forkChild(statements(answered), { startImmediately: true }), (fiber) => {
        // a free connection was available at once
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) return exit
        return Effect.callback((resume) => {
          one = {
            since: looks,
            times,
            give: (what, times) => {
              answered()
              resume(Effect.fail(unavailable(operation, what, times)))
              // nobody waits for the cancellation of the statement
              fiber.interruptUnsafe()
            }
          }
          waiting.add(one)
          if (!isLooking) lookLater()
          fiber.addObserver((exit) => {
            answered()
            resume(exit)
          })
          return Effect.suspend(() => {
            answered()
            return Fiber.interrupt(fiber)
          })
        })
      })
    })

  const limit: Patience["limit"] = (operation, statements) =>
    Effect.flatMap(Effect.forkChild(statements, { startImmediately: true }), (fiber) =>
      Effect.timeoutOrElse(Fiber.join(fiber), {
        duration: wait,
        orElse: () => {
          fiber.interruptUnsafe()
          return Effect.fail(unavailable(operation, "though the connection was made"))
        }
      })
    )
  const reserve = (operation: string) =>
    reserveInTime({
      wait,
      acquire: (held) => bound(operation, () => Scope.provide(client.reserve, held)),
      silent: () => unavailable(operation, "the connection is silent"),
      limit: (statement) => limit(operation, statement)
    })
  /** Makes the client run statements on a connection, outside any transaction: the next level is the outermost one. */
  const on = (connection: SqlConnection.Connection) =>
    Effect.provideService(client.transactionService, [connection, OUTSIDE])

  const brief: Patience["brief"] = (operation, work) =>
    Effect.scoped(Effect.flatMap(reserve(operation), ({ connection, inTime }) => inTime(on(connection)(work))))

  const transaction: Patience["transaction"] = (operation, self) =>
    Effect.uninterruptibleMask((restore) => {
      const begin =
        ({ inTime, rollBack }: { readonly inTime: InTime; readonly rollBack: Effect.Effect<void> }) =>
        <A, E, R>(statement: Effect.Effect<A, E, R>) =>
          Effect.onError(restore(inTime(statement)), () => rollBack)
      return restore(
        Effect.scoped(
          Effect.flatMap(reserve(operation), (held) => on(new BeginningInTime(held.connection, begin(held)))(self))
        )
      )
    }).pipe(
      Effect.mapError((error) =>
        SqlError.isSqlError(error) && isRecorderUnavailable(error.reason.cause) ? error.reason.cause : error
      )
    )
  return { wait, bound, brief, transaction, limit }
}

/** The time that the client uses, too: the option, the URL, 5 seconds. */
const waitOf = ({ connectTimeout, url }: PgClient.PgClientConfig): number => {
  if (connectTimeout !== undefined) return Math.min(Duration.toMillis(connectTimeout), MOST)
  const seconds = url === undefined ? undefined : inUrl(url)
  return seconds === undefined || !(seconds >= 0) ? 5000 : Math.min(seconds === 0 ? MOST : seconds * 1000, MOST)
}

/** The longest duration that a timer accepts. */
const MOST = 2 ** 31 - 1

const inUrl = (url: NonNullable<PgClient.PgClientConfig["url"]>): number | undefined => {
  const text = Redacted.value(url)
  const found = URL.canParse(text) ? new URL(text).searchParams.get("connect_timeout") : null
  return found === null ? undefined : Number(found)
}

/** Whether a statement on a connection of its own is answered in time, even if only with an error of the server. */
const isServed = (client: PgClient.PgClient, wait: number): Effect.Effect<boolean> =>
  Effect.flatMap(
    Effect.forkDetach(
      Effect.scoped(
        Effect.flatMap(
          Effect.provideServiceEffect(PgClient.makeClient(client.config), Reactivity.Reactivity, Reactivity.make),
          (one) => one.unsafe("SELECT 1").unprepared
        )
      )
    ),
    (fiber) =>
      Effect.timeoutOrElse(Effect.match(Fiber.join(fiber), { onSuccess: () => true, onFailure: isAnswer }), {
        duration: wait,
        orElse: () => {
          fiber.interruptUnsafe()
          return Effect.succeed(false)
        }
      })
  )

/** Whether the server itself responds that there is no connection now: then it is running, and serves others. */
const isAnswer = (error: unknown): boolean => {
  const cause: unknown = SqlError.isSqlError(error) ? error.reason.cause : undefined
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined
  // a connection error, as poolers report it when they give up, or a server that is starting or stopping
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && !/^(08|57)/.test(code)
}
