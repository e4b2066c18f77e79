/** A KurrentDB protocol fake: a gRPC server that the official client talks to. See README.md. */
import * as Net from "node:net"
import * as Grpc from "@grpc/grpc-js"
import { makeAccess } from "./access.ts"
import type { Context, Subscription } from "./context.ts"
import { openDisk } from "./disk.ts"
import { Faults } from "./faults.ts"
import { gossipHandlers } from "./gossip.ts"
import { Log } from "./Log.ts"
import { measured } from "./messageSize.ts"
import { persistentHandlers } from "./persistentSubscriptions.ts"
import { featuresService, gossipService, persistentService, streamsService, streamsServiceV2 } from "./protocol.ts"
import { serverFeatures } from "./serverFeatures.ts"
import type { FakeOptions } from "./settings.ts"
import { settingsOf } from "./settings.ts"
import { streamsHandlers } from "./streams.ts"
import { streamsV2Handlers } from "./streamsV2.ts"
import { Writer } from "./Writer.ts"

export type { FakeOptions } from "./settings.ts"

export interface Fake {
  /** A connection string for the official client: one node, without the half second of its first read. */
  readonly uri: string
  readonly port: number
  readonly faults: Faults
  /** How many connections are open. */
  readonly connections: () => number
  /** How many subscriptions are open. */
  readonly subscriptions: () => number
  readonly stop: () => Promise<void>
}

const host = "127.0.0.1"

/** How many calls a connection carries at once, as on a real server; others wait in the client. */
const maxCalls = 100

export const startFake = async (options: FakeOptions = {}): Promise<Fake> => {
  const settings = settingsOf(options)
  const disk = options.directory === undefined ? undefined : openDisk(options.directory)
  const written = new Log()
  const log = new Log()
  for (const group of disk?.groups ?? []) written.restore(group)
  const booted = written.boot()
  disk?.write(booted)
  for (const group of [...(disk?.groups ?? []), ...booted]) log.restore(group)

  // The sockets are accepted here and not in grpc-js, so that a fault can reset one of them.
  const sockets = new Map<string, Net.Socket>()
  const subscriptions = new Set<Subscription>()
  const dropConnections = () => {
    for (const socket of sockets.values()) socket.resetAndDestroy()
  }
  const server = new Grpc.Server({
    "grpc.max_concurrent_streams": maxCalls,
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1
  })
  const injector = server.createConnectionInjector(
    options.tls === undefined
      ? Grpc.ServerCredentials.createInsecure()
      : Grpc.ServerCredentials.createSsl(null, [
          { cert_chain: Buffer.from(options.tls.certificate), private_key: Buffer.from(options.tls.key) }
        ])
  )
  const accept = (socket: Net.Socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`
    sockets.set(peer, socket)
    socket.on("error", () => {})
    socket.once("close", () => sockets.delete(peer))
    socket.setNoDelay(true)
    injector.injectConnection(socket)
  }
  let listener: Net.Server | undefined
  const listen = (port: number) =>
    new Promise<number>((resolve, reject) => {
      const next = Net.createServer(accept)
      next.once("error", reject)
      next.listen(port, host, () => {
        listener = next
        resolve((next.address() as Net.AddressInfo).port)
      })
    })

  const port = await listen(options.port ?? 0)
  const faults = new Faults({
    dropConnections,
    refuseConnections: () => {
      listener?.close()
      listener = undefined
    },
    acceptConnections: async () => {
      if (listener === undefined) await listen(port)
    },
    endSubscriptions: (refusal) => {
      for (const subscription of subscriptions) subscription.end(refusal)
    }
  })
  const context: Context = {
    log,
    writer: new Writer({ written, shown: log }, disk, { lag: () => faults.lag, answersOnce: () => faults.answersOnce }),
    faults,
    settings,
    subscriptions,
    dropConnection: (caller) => sockets.get(caller.getPeer())?.resetAndDestroy(),
    ...makeAccess(settings, log)
  }
  server.addService(featuresService, serverFeatures(context))
  server.addService(
    gossipService,
    gossipHandlers(context, () => ({ host, port }))
  )
  server.addService(
    { ...streamsService, append: measured(streamsService.append), batchAppend: measured(streamsService.batchAppend) },
    streamsHandlers(context)
  )
  server.addService(persistentService, persistentHandlers(context))
  const { appendRecords, appendSession } = streamsV2Handlers(context)
  if (settings.appendSession) {
    server.addService(streamsServiceV2, settings.appendRecords ? { appendSession, appendRecords } : { appendSession })
  }

  return {
    uri: `kurrentdb://${host}:${port}?tls=${options.tls !== undefined}&discoveryInterval=1`,
    port,
    faults,
    connections: () => sockets.size,
    subscriptions: () => subscriptions.size,
    stop: async () => {
      const closed = new Promise<void>((resolve) => {
        if (listener === undefined) resolve()
        else listener.close(() => resolve())
      })
      faults.endSubscriptions("shutdown")
      // the messages to the subscriptions are sent before their connections close
      await new Promise((resolve) => setTimeout(resolve, subscriptions.size === 0 ? 0 : 10))
      dropConnections()
      injector.destroy()
      server.forceShutdown()
      await closed
      disk?.close()
    }
  }
}
