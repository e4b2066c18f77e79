/** The features that the server reports. Both halves of the client request them first. */
import type * as Grpc from "@grpc/grpc-js"
import type { Context } from "./context.ts"
import { serviceError } from "./errors.ts"
import type { Features, Shared } from "./protocol.ts"
import { features } from "./protocol.ts"

type Method = readonly [name: string, ...features: ReadonlyArray<string>]

const streams: ReadonlyArray<Method> = [
  ["read", "position", "events"],
  ["append"],
  ["delete"],
  ["tombstone"],
  ["batchappend", "deadline_duration"]
]
const persistent: ReadonlyArray<Method> = [
  ["create", "stream", "all"],
  ["update", "stream", "all"],
  ["delete", "stream", "all"],
  ["read", "stream", "all"],
  ["getinfo", "stream", "all"],
  ["replayparked", "stream", "all"],
  ["list", "stream", "all"],
  ["restartsubsystem"]
]

export const serverFeatures = (context: Context) => ({
  getSupportedMethods: (
    call: Grpc.ServerUnaryCall<Shared.Empty, Features.SupportedMethods>,
    callback: Grpc.sendUnaryData<Features.SupportedMethods>
  ) => {
    const denied = context.denies(call, "allowed")
    if (denied !== undefined) return callback(serviceError(denied))
    context.faults.enter(
      "features",
      () => callback(null, supported(context)),
      (refusal) => callback(serviceError(refusal))
    )
  }
})

const supported = ({ settings }: Context): Features.SupportedMethods => {
  const methods = new features.SupportedMethods()
  methods.setEventStoreServerVersion(settings.version)
  const service = (name: string, its: ReadonlyArray<Method>) => {
    for (const [method, ...list] of its) {
      const entry = new features.SupportedMethod()
      entry.setServiceName(name)
      entry.setMethodName(method)
      entry.setFeaturesList(list)
      methods.addMethods(entry)
    }
  }
  service("event_store.client.streams.streams", streams)
  service("event_store.client.persistent_subscriptions.persistentsubscriptions", persistent)
  service("event_store.client.gossip.gossip", [["read"]])
  service("event_store.client.server_features.serverfeatures", [["getsupportedmethods"]])
  service("kurrentdb.protocol.v2.streams.streamsservice", [
    ...(settings.appendSession ? ([["appendsession"]] as const) : []),
    ...(settings.appendRecords ? ([["appendrecords"]] as const) : [])
  ])
  return methods
}
