/** Calls to a server: each with a deadline of its own, and failing only with the library's errors. */
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import type { Scope } from "effect"
import { Effect } from "effect"
import * as ConcurrencyLimit from "./concurrencyLimit.ts"
import type { Parsed } from "./connectionString.ts"
import { apart } from "./connectionString.ts"
import type { CallError } from "./errors.ts"
import { toCallError } from "./errors.ts"
import { KurrentFailure, KurrentUnavailable } from "./KurrentError.ts"

/** Basic credentials, passed with each read: reads would send those of a connection string percent-encoded. */
export type Credentials = Parsed["credentials"]

/**
 * A call of the client. It calls `alive` whenever something arrives, which restarts the deadline. `isOver` returns
 * whether nobody waits for it any more.
 */
export type Call<A> = (client: KurrentDBClient, alive: () => void, isOver: () => boolean) => Promise<A>

/** A server, or a cluster of them. */
export interface Connection {
  /** How long a call may take, in milliseconds. */
  readonly deadline: number
  readonly credentials: Credentials
  /** A client for a subscription, until the scope closes: not one that other calls wait for. */
  readonly subscriber: Effect.Effect<KurrentDBClient, never, Scope.Scope>
  /** A call that changes something. Once it has begun, even an interrupted fiber waits for it, for up to a second. */
  readonly write: <A>(operation: string, stream: string, call: Call<A>) => Effect.Effect<A, CallError>
  /** A call that changes nothing but fails like one that does. */
  readonly ask: <A>(operation: string, stream: string, call: Call<A>) => Effect.Effect<A, CallError>
  /** A call that reads. */
  readonly read: <A>(operation: string, stream: string, call: Call<A>) => Effect.Effect<A, CallError>
}

/** What is notified about a call. */
interface Listener<A> {
  readonly onAlive: () => void
  /** `wasSilent`: whether the deadline ended it. */
  readonly onEnd: (outcome: Effect.Effect<A, CallError>, wasSilent: boolean) => void
}

const noop = () => {}

/** How many reads run at once: a connection carries a hundred calls, and abandoned ones count. */
const READS = 64

/** How long an interrupted fiber waits for a change that was sent, in milliseconds. */
const INTERRUPTED = 1000

/** How many clients this process has made: the number tells them apart. */
let clients = 0
const MOST_CLIENTS = 5000

/** How many subscriptions a client has at most: a connection carries a hundred calls, unless configured for fewer. */
const SUBSCRIPTIONS = 64

/** Clients for subscriptions: when all are full, another is made. */
const makeSubscribers = (newClient: Effect.Effect<KurrentDBClient, KurrentFailure>) =>
  Effect.gen(function* () {
    const all = new Set<{ readonly client: KurrentDBClient; subscriptions: number }>()
    const dispose = (client: KurrentDBClient) => Effect.promise(() => client.dispose())
    yield* Effect.addFinalizer(() => Effect.forEach([...all], ({ client }) => dispose(client), { discard: true }))
    const take = Effect.gen(function* () {
      for (const one of all) {
        if (one.subscriptions >= SUBSCRIPTIONS) continue
        one.subscriptions++
        return one
      }
      // the client has accepted this connection string before
      const one = { client: yield* Effect.orDie(newClient), subscriptions: 1 }
      all.add(one)
      return one
    })
    return Effect.map(
      Effect.acquireRelease(take, (one) => {
        one.subscriptions--
        // keep one for the next subscription
        if (one.subscriptions > 0 || all.size === 1) return Effect.void
        all.delete(one)
        return dispose(one.client)
      }),
      ({ client }) => client
    )
  })

/**
 * Makes the clients of a connection, which close with the scope. Nothing is sent yet.
 *
 * Reads have a client of their own. It is replaced when a read finds the server unavailable: a client whose first read
 * failed can never read again.
 */
export const make = ({ text, credentials }: Parsed, deadline: number, maxInFlight: number) =>
  Effect.gen(function* () {
    const newClient = Effect.try({
      try: () => KurrentDBClient.connectionString(apart(text, clients++ % MOST_CLIENTS)),
      // without the client's message: it may contain a password
      catch: () =>
        new KurrentFailure({
          operation: "connect to KurrentDB",
          reason: "the client rejected the connection string"
        })
    })
    const client = yield* Effect.acquireRelease(newClient, (client) => Effect.promise(() => client.dispose()))
    let reader = yield* newClient
    const subscribers = yield* makeSubscribers(newClient)

    /** Starts a call; returns a function that abandons it: nobody waits for it any more, though it continues. */
    const start = <A>(
      client: KurrentDBClient,
      operation: string,
      stream: string,
      run: Call<A>,
      { onAlive, onEnd }: Listener<A>
    ): (() => void) => {
      let isSettled = false
      let isAbandoned = false
      const end = (outcome: Effect.Effect<A, CallError>, wasSilent: boolean) => {
        if (isSettled) return
        isSettled = true
        clearTimeout(timer)
        onEnd(outcome, wasSilent)
      }
      const reason = `no answer within ${deadline} ms`
      const timer = setTimeout(() => end(Effect.fail(new KurrentUnavailable({ operation, reason })), true), deadline)
      const alive = () => {
        if (isSettled || isAbandoned) return
        timer.refresh()
        onAlive()
      }
      const fail = (cause: unknown) => end(Effect.fail(toCallError(operation, stream, cause)), false)
      try {
        run(client, alive, () => isSettled || isAbandoned).then((value) => end(Effect.succeed(value), false), fail)
      } catch (cause) {
        fail(cause)
      }
      return () => {
        isAbandoned = true
        timer.unref()
      }
    }
    const ask: Connection["ask"] = (operation, stream, run) =>
      Effect.callback((resume) => Effect.sync(start(client, operation, stream, run, { onAlive: noop, onEnd: resume })))

    /** Runs at most this many calls at once. Waiting for a turn is not silence while the server answers other calls. */
    const queue = (most: number, isChange: boolean) => {
      const turns = ConcurrencyLimit.make(most)
      let answered = Number.NEGATIVE_INFINITY
      const onAlive = () => {
        answered = performance.now()
      }
      return <A>(
        clientOf: () => KurrentDBClient,
        operation: string,
        stream: string,
        run: Call<A>
      ): Effect.Effect<A, CallError> =>
        Effect.callback((resume) => {
          let settle = resume
          let state: "waiting" | "begun" | "settled" = "waiting"
          let waiting: NodeJS.Timeout | undefined
          let abandon = noop
          const giveUp = turns.begin(() => {
            clearTimeout(waiting)
            state = "begun"
            abandon = start(clientOf(), operation, stream, run, {
              onAlive,
              onEnd: (outcome, wasSilent) => {
                state = "settled"
                if (!wasSilent) onAlive()
                turns.done()
                settle(outcome)
              }
            })
          })
          const isIn = (one: typeof state) => state === one
          const giveUpAfter = (milliseconds: number) => {
            waiting = setTimeout(() => {
              const left = answered + deadline - performance.now()
              if (left > 0) return giveUpAfter(left)
              state = "settled"
              giveUp()
              const reason = `earlier calls were not answered within ${deadline} ms; nothing was sent`
              resume(Effect.fail(new KurrentUnavailable({ operation, reason })))
            }, milliseconds)
          }
          if (isIn("waiting")) giveUpAfter(deadline)
          return Effect.suspend(() => {
            if (isIn("waiting")) {
              clearTimeout(waiting)
              giveUp()
            }
            if (!isIn("begun")) return Effect.void
            if (!isChange) {
              abandon()
              return Effect.void
            }
            // what was sent may be recorded: wait for its outcome before the interruption ends, unless that takes long
            return Effect.callback<void>((settled) => {
              const patience = setTimeout(() => settled(Effect.void), Math.min(deadline, INTERRUPTED))
              settle = () => {
                clearTimeout(patience)
                settled(Effect.void)
              }
            })
          })
        })
    }
    const changes = queue(maxInFlight, true)
    const reads = queue(READS, false)

    const connection: Connection = {
      deadline,
      credentials,
      subscriber: subscribers,
      ask,
      write: (operation, stream, run) => changes(() => client, operation, stream, run),
      read: (operation, stream, run) =>
        Effect.suspend(() => {
          let used = reader
          const clientOf = () => {
            used = reader
            return used
          }
          return Effect.tapError(reads(clientOf, operation, stream, run), (error) =>
            error._tag !== "KurrentUnavailable" || used !== reader
              ? Effect.void
              : Effect.map(Effect.orDie(newClient), (fresh) => {
                  reader = fresh
                })
          )
        })
    }
    return connection
  })
