/** How a server is called: each call with a deadline of its own, and no failure but ours. */
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import type { Parsed } from "./connectionString.ts"
import type { CallError } from "./errors.ts"
import { toCallError } from "./errors.ts"
import { KurrentFailure, KurrentUnavailable } from "./KurrentError.ts"
import * as Turns from "./turns.ts"

/** Basic credentials, given with each read: of those in a connection string reads would send the percent-encoded form. */
export type Credentials = Parsed["credentials"]

/** A call of the client's; it says whenever something came (`alive`), and the deadline begins anew. */
export type Call<A> = (client: KurrentDBClient, alive: () => void) => Promise<A>

/** A server, or a cluster of them. */
export interface Connection {
  /** How long a call may take, in milliseconds. */
  readonly deadline: number
  readonly credentials: Credentials
  /** What subscriptions are opened on. */
  readonly client: KurrentDBClient
  /** A call that changes something: begun, it is waited for, also by a fiber that is interrupted, up to the deadline. */
  readonly write: <A>(operation: string, stream: string, call: Call<A>) => Effect.Effect<A, CallError>
  /** A call that changes nothing, where the answers to what would are to be expected. */
  readonly ask: <A>(operation: string, stream: string, call: Call<A>) => Effect.Effect<A, CallError>
  /** A call that reads. */
  readonly read: <A>(operation: string, stream: string, call: Call<A>) => Effect.Effect<A, CallError>
}

/**
 * Makes the clients of a connection, which are closed with the scope. Nothing is sent yet.
 *
 * Reads have a client of their own. It is replaced when a read finds the server unavailable: a client whose first read
 * fails never reads again.
 */
export const make = ({ text, credentials }: Parsed, deadline: number, maxInFlight: number) =>
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

    /** Starts a call; answers how to forget about it. */
    const start = <A>(
      client: KurrentDBClient,
      operation: string,
      stream: string,
      run: Call<A>,
      settle: (outcome: Effect.Effect<A, CallError>) => void
    ): (() => void) => {
      let isSettled = false
      const end = (outcome: Effect.Effect<A, CallError>) => {
        if (isSettled) return
        isSettled = true
        clearTimeout(timer)
        settle(outcome)
      }
      const timer = setTimeout(
        () => end(Effect.fail(new KurrentUnavailable({ operation, reason: `no answer within ${deadline} ms` }))),
        deadline
      )
      const fail = (cause: unknown) => end(Effect.fail(toCallError(operation, stream, cause)))
      try {
        run(client, () => timer.refresh()).then((value) => end(Effect.succeed(value)), fail)
      } catch (cause) {
        fail(cause)
      }
      return () => {
        isSettled = true
        clearTimeout(timer)
      }
    }
    const call =
      (client: () => KurrentDBClient): Connection["read"] =>
      (operation, stream, run) =>
        Effect.callback((resume) => Effect.sync(start(client(), operation, stream, run, resume)))
    const read = call(() => reader)

    const turns = Turns.make(maxInFlight)
    const write: Connection["write"] = (operation, stream, run) =>
      Effect.callback((resume) => {
        let settle = resume
        let state: "waiting" | "begun" | "settled" = "waiting"
        let waiting: NodeJS.Timeout | undefined
        const giveUp = turns.begin(() => {
          clearTimeout(waiting)
          state = "begun"
          start(client, operation, stream, run, (outcome) => {
            state = "settled"
            turns.done()
            settle(outcome)
          })
        })
        const isWaiting = () => state === "waiting"
        if (isWaiting()) {
          waiting = setTimeout(() => {
            state = "settled"
            giveUp()
            const reason = `earlier calls were not answered within ${deadline} ms; nothing was sent`
            resume(Effect.fail(new KurrentUnavailable({ operation, reason })))
          }, deadline)
        }
        return Effect.suspend(() => {
          if (isWaiting()) {
            clearTimeout(waiting)
            giveUp()
          }
          // what was sent may be recorded: whoever goes on after the interruption sees how it ended
          return state === "begun"
            ? Effect.callback<void>((settled) => {
                settle = () => settled(Effect.void)
              })
            : Effect.void
        })
      })

    const connection: Connection = {
      deadline,
      credentials,
      client,
      ask: call(() => client),
      write,
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
