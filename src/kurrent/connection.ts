/** How a server is called: each call with a deadline of its own, and no failure but ours. */
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import type { Parsed } from "./connectionString.ts"
import type { CallError } from "./errors.ts"
import { toCallError } from "./errors.ts"
import { KurrentFailure, KurrentUnavailable } from "./KurrentError.ts"

/** Basic credentials, given with each read: of those in a connection string reads would send the percent-encoded form. */
export type Credentials = Parsed["credentials"]

/** A server, or a cluster of them. */
export interface Connection {
  /** How long a call may take, in milliseconds. */
  readonly deadline: number
  readonly credentials: Credentials
  /** What subscriptions are opened on. */
  readonly client: KurrentDBClient
  /** A call that changes something: begun, it is waited for, also by a fiber that is interrupted, up to the deadline. */
  readonly write: <A>(
    operation: string,
    stream: string,
    call: (client: KurrentDBClient) => Promise<A>
  ) => Effect.Effect<A, CallError>
  /** A call that changes nothing, where the answers to what would are to be expected. */
  readonly ask: Connection["write"]
  /** A call that reads. Whenever something came and it says so (`alive`), the deadline begins anew. */
  readonly read: <A>(
    operation: string,
    stream: string,
    call: (client: KurrentDBClient, alive: () => void) => Promise<A>
  ) => Effect.Effect<A, CallError>
}

/**
 * Makes the clients of a connection, which are closed with the scope. Nothing is sent yet.
 *
 * Reads have a client of their own. It is replaced when a read finds the server unavailable: a client whose first read
 * fails never reads again.
 */
export const make = ({ text, credentials }: Parsed, deadline: number) =>
  Effect.gen(function* () {
    const newClient = Effect.try({
      try: () => KurrentDBClient.connectionString(text),
      // without what it said: there may be a password in it
      catch: () =>
        new KurrentFailure({
          operation: "connect to KurrentDB",
          reason: "the client does not take the connection string"
        })
    })
    const client = yield* Effect.acquireRelease(newClient, (client) => Effect.promise(() => client.dispose()))
    let reader = yield* newClient

    const call =
      (client: () => KurrentDBClient): Connection["read"] =>
      (operation, stream, run) =>
        Effect.callback((resume) => {
          const timer = setTimeout(
            () => resume(Effect.fail(new KurrentUnavailable({ operation, reason: `no answer within ${deadline} ms` }))),
            deadline
          )
          const fail = (cause: unknown) => {
            clearTimeout(timer)
            resume(Effect.fail(toCallError(operation, stream, cause)))
          }
          try {
            run(client(), () => timer.refresh()).then((value) => {
              clearTimeout(timer)
              resume(Effect.succeed(value))
            }, fail)
          } catch (cause) {
            fail(cause)
          }
          return Effect.sync(() => clearTimeout(timer))
        })
    const write = call(() => client)
    const read = call(() => reader)

    const connection: Connection = {
      deadline,
      credentials,
      client,
      ask: write,
      write: (operation, stream, run) => Effect.uninterruptible(write(operation, stream, run)),
      read: (operation, stream, run) =>
        Effect.suspend(() => {
          const used = reader
          return Effect.tapError(read(operation, stream, run), (error) =>
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
