/**
 * The service definitions and messages that the client's package ships, so that no proto file is kept here.
 * They are CommonJS modules whose exports Node cannot name, and they need the very `google-protobuf` that the client uses.
 */
import * as Module from "node:module"
import type * as Gossip from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/gossip_pb.js"
import type * as Persistent from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/persistentsubscriptions_pb.js"
import type * as Features from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/serverfeatures_pb.js"
import type * as Shared from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js"
import type * as Status from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/status_pb.js"
import type * as Streams from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js"
import type * as ErrorsV2 from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v2/streams/errors_pb.js"
import type * as StreamsV2 from "@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v2/streams/streams_pb.js"
import type * as GoogleAny from "google-protobuf/google/protobuf/any_pb.js"
import type * as GoogleEmpty from "google-protobuf/google/protobuf/empty_pb.js"
import type * as GoogleTimestamp from "google-protobuf/google/protobuf/timestamp_pb.js"

const here = Module.createRequire(import.meta.url)
const client = Module.createRequire(here.resolve("@kurrent/kurrentdb-client"))
const generated = (name: string) => here(`@kurrent/kurrentdb-client/generated/kurrentdb/protocols/${name}.js`)

export const streams: typeof Streams = generated("v1/streams_pb")
export const shared: typeof Shared = generated("v1/shared_pb")
export const status: typeof Status = generated("v1/status_pb")
export const features: typeof Features = generated("v1/serverfeatures_pb")
export const gossip: typeof Gossip = generated("v1/gossip_pb")
export const persistent: typeof Persistent = generated("v1/persistentsubscriptions_pb")
export const streamsV2: typeof StreamsV2 = generated("v2/streams/streams_pb")
export const errorsV2: typeof ErrorsV2 = generated("v2/streams/errors_pb")

export const googleAny: typeof GoogleAny = client("google-protobuf/google/protobuf/any_pb.js")
export const googleEmpty: typeof GoogleEmpty = client("google-protobuf/google/protobuf/empty_pb.js")
export const googleTimestamp: typeof GoogleTimestamp = client("google-protobuf/google/protobuf/timestamp_pb.js")

type Services<Module, Name extends keyof Module> = Module[Name]

export const streamsService: Services<
  typeof import("@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_grpc_pb.js"),
  "StreamsService"
> = generated("v1/streams_grpc_pb").StreamsService
export const featuresService: Services<
  typeof import("@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/serverfeatures_grpc_pb.js"),
  "ServerFeaturesService"
> = generated("v1/serverfeatures_grpc_pb").ServerFeaturesService
export const gossipService: Services<
  typeof import("@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/gossip_grpc_pb.js"),
  "GossipService"
> = generated("v1/gossip_grpc_pb").GossipService
export const persistentService: Services<
  typeof import("@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/persistentsubscriptions_grpc_pb.js"),
  "PersistentSubscriptionsService"
> = generated("v1/persistentsubscriptions_grpc_pb").PersistentSubscriptionsService
export const streamsServiceV2: Services<
  typeof import("@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v2/streams/streams_grpc_pb.js"),
  "StreamsServiceService"
> = generated("v2/streams/streams_grpc_pb").StreamsServiceService

export type { ErrorsV2, Features, Gossip, Persistent, Shared, Status, Streams, StreamsV2 }
