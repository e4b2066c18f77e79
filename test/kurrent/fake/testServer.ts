/** What the fake's own tests need: a server, clients of it that are closed, and streams of their own. */
import * as Crypto from "node:crypto"
import type { AllStreamSubscription, ResolvedEvent, StreamSubscription } from "@kurrent/kurrentdb-client"
import { binaryEvent, jsonEvent, KurrentDBClient } from "@kurrent/kurrentdb-client"
import { afterAll, beforeAll, it, onTestFinished } from "vitest"
import type { Fake, FakeOptions } from "./server.ts"
import { startFake } from "./server.ts"

/** A real server to compare the fake with: it has to show the same behaviour. */
export const realUri = process.env.KURRENTDB_URI

/** For what only the fake can do: faults, and what needs a server for one test alone. */
export const onlyFake = it.skipIf(realUri !== undefined)

export interface Server {
  readonly uri: () => string
  readonly fake: () => Fake
  /** A client that is closed at the end of the test. */
  readonly client: () => KurrentDBClient
}

export const useServer = (options: FakeOptions = {}): Server => {
  let fake: Fake | undefined
  beforeAll(async () => {
    if (realUri === undefined) fake = await startFake(options)
  })
  afterAll(() => fake?.stop())
  const uri = () => realUri ?? fake!.uri
  return { uri, fake: () => fake!, client: () => connect(uri()) }
}

/** A fake for one test alone. */
export const startOwn = async (options: FakeOptions = {}): Promise<Fake> => {
  const fake = await startFake(options)
  onTestFinished(() => fake.stop())
  return fake
}

export const connect = (uri: string): KurrentDBClient => {
  const client = KurrentDBClient.connectionString(uri)
  onTestFinished(() => client.dispose())
  return client
}

export const streamName = (category = "Fake") => `${category}-${Crypto.randomUUID()}`

export const happened = (n: number, id: string = Crypto.randomUUID()) =>
  jsonEvent({ id, type: "Happened", data: { n } })
export const happenedMany = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => happened(from + index))
export const bytes = (length: number) => binaryEvent({ type: "Bytes", data: new Uint8Array(length).fill(7) })

export const collect = async <A>(events: AsyncIterable<A>): Promise<Array<A>> => {
  const all: Array<A> = []
  for await (const event of events) all.push(event)
  return all
}

export const revisions = (events: ReadonlyArray<ResolvedEvent>) => events.map(({ event }) => Number(event?.revision))

/** The error that it fails with. */
export const failure = async (promise: Promise<unknown>): Promise<ClientError> => {
  try {
    await promise
  } catch (error) {
    return error as ClientError
  }
  throw new Error("It did not fail")
}

/** The properties that errors of the client may have. */
export interface ClientError extends Error {
  readonly type?: string
  readonly code?: number
  readonly [field: string]: unknown
}

/** Polls until a condition holds; the limit is that of the test. */
export const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2))
}

/**
 * Tries until it succeeds, as long as the test may take. grpc-js lets all clients of a process with the same address
 * share a connection, so that a new client may still get one that was just lost, or wait as long as another one would
 * have.
 */
export const eventually = async <A>(run: () => Promise<A>): Promise<A> => {
  for (;;) {
    try {
      return await run()
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** Whether it is still pending after a while; for what must never settle. */
export const isPending = (promise: Promise<unknown>, milliseconds = 300): Promise<boolean> =>
  Promise.race([
    promise.then(
      () => false,
      () => false
    ),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(true), milliseconds))
  ])

/** Everything that a subscription reported, in order. */
export interface Heard {
  readonly signals: Array<string>
  readonly events: Array<ResolvedEvent>
  readonly caughtUp: Array<{
    readonly date?: Date
    readonly revision?: bigint
    readonly position?: { readonly commit: bigint; readonly prepare: bigint }
  }>
  readonly errors: Array<ClientError>
  readonly unsubscribe: () => Promise<void>
}

export const listen = (subscription: StreamSubscription | AllStreamSubscription): Heard => {
  const heard: Heard = {
    signals: [],
    events: [],
    caughtUp: [],
    errors: [],
    unsubscribe: () => subscription.unsubscribe()
  }
  const stream = subscription as StreamSubscription
  stream.on("confirmation", () => heard.signals.push("confirmation"))
  stream.on("data", (event) => {
    heard.signals.push("event")
    heard.events.push(event)
  })
  ;(stream as unknown as NodeJS.EventEmitter).on("caughtUp", (info) => {
    heard.signals.push("caughtUp")
    heard.caughtUp.push(info)
  })
  stream.on("error", (error) => {
    heard.signals.push("error")
    heard.errors.push(error as ClientError)
  })
  onTestFinished(() => subscription.unsubscribe())
  return heard
}
