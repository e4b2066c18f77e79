/** The log that KurrentDB's scenarios run on, and the official client beside the library. */
import { randomUUID } from "node:crypto"
import type { AllStreamResolvedEvent, JSONEventType, ResolvedEvent } from "@kurrent/kurrentdb-client"
import { jsonEvent, KurrentDBClient, streamNameFilter } from "@kurrent/kurrentdb-client"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { openOrders } from "../fill.ts"
import { Order } from "../order.ts"
import { template } from "../raw/template.ts"
import type { Driver, Insert } from "../servers/Driver.ts"
import type { Bench } from "../servers/scenarios.ts"
import type { Server } from "./server.ts"

/** A log whose streams have a prefix of their own. */
export const open = (server: Server): Effect.Effect<Bench, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const prefix = `bench_${randomUUID().replaceAll("-", "")}.`
    const services = yield* Layer.build(KurrentLayer({ connectionString: server.uri, prefix }))
    const type = yield* Effect.gen(function* () {
      yield* openOrders([Order.id("the first")])
      return (yield* template).type
    }).pipe(Effect.provide(services))
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => KurrentDBClient.connectionString(server.uri)),
      (client) => Effect.promise(() => client.dispose())
    )
    return {
      services,
      drivers: [official(client, prefix, type)],
      commit: server.commit,
      anotherLog: Effect.suspend(() => open(server))
    }
  })

const official = (client: KurrentDBClient, prefix: string, type: string): Driver => {
  const append = (events: ReadonlyArray<Insert>) =>
    Effect.promise(() => {
      const [first] = events
      return client.appendToStream(
        `${prefix}${first?.stream}`,
        events.map(({ item }) =>
          jsonEvent<JSONEventType>({ type, data: item, metadata: { $recordedAt: `${Date.now()}` } })
        ),
        { streamState: BigInt((first?.version ?? 0) - 1) }
      )
    })
  const count = (events: () => AsyncIterable<ResolvedEvent | AllStreamResolvedEvent>) =>
    Effect.promise(async () => {
      let count = 0
      for await (const _ of events()) count++
      return count
    })
  return {
    name: "@kurrent/kurrentdb-client",
    insert: (event) => append([event]),
    insertMany: append,
    // the client parses what it reads
    readStream: (stream) => count(() => client.readStream(`${prefix}${stream}`)),
    readAll: count(() => client.readAll({ filter: streamNameFilter({ prefixes: [`${prefix}Order-`] }) }))
  }
}
