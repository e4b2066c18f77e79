/** Calls to a server: each with a deadline of its own, and failing only with the library's errors. */
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import type { Scope } from "effect"
import { Effect } from "effect"
import type { Call } from "./calls.ts"
import { makeCallQueue, startCall } from "./calls.ts"
import type { Parsed } from "./connectionString.ts"
import { withOwnChannel } from "./connectionString.ts"
import type { CallError } from "./errors.ts"
import { KurrentFailure } from "./KurrentError.ts"

/** Basic credentials, passed with each read: reads would send those of a connection string percent-encoded. */
export type Credentials = Parsed["credentials"]

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

const noop = () => {}

/** How many reads run at once: a connection carries a hundred calls, and abandoned ones count. */
const READS = 64

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
      for (const entry of all) {
        if (entry.subscriptions >= SUBSCRIPTIONS) continue
        entry.subscriptions++
        return entry
      }
      // the client has accepted this connection string before
      const entry = { client: yield* Effect.orDie(newClient), subscriptions: 1 }
      all.add(entry)
      return entry
    })
    return Effect.map(
      Effect.acquireRelease(take, (entry) => {
        entry.subscriptions--
        // keep one for the next subscription
        if (entry.subscriptions > 0 || all.size === 1) return Effect.void
        all.delete(entry)
        return dispose(entry.client)
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
      try: () => KurrentDBClient.connectionString(withOwnChannel(text, clients++ % MOST_CLIENTS)),
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

    const ask: Connection["ask"] = (operation, stream, run) =>
      Effect.callback((resume) =>
        Effect.sync(startCall(client, deadline, operation, stream, run, { onAlive: noop, onEnd: resume }))
      )

    const changes = makeCallQueue(deadline, maxInFlight, true)
    const reads = makeCallQueue(deadline, READS, false)

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
