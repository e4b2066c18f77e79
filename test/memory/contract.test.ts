import { Effect, Layer } from "effect"
import type { Services } from "effect-eventsourcing/memory"
import { layerRecorders } from "effect-eventsourcing/memory"
import type { Backend } from "effect-eventsourcing/testing/backend"
import {
  multiStreamAppendContract,
  processContract,
  recorderContract,
  snapshotRecorderContract,
  streamCatalogContract,
  trackedAppendContract
} from "effect-eventsourcing/testing/backend"
import { programs } from "../support/programCount.ts"

const memory: Backend<Services> = {
  name: "memory",
  knowsPositions: true,
  durable: false,
  programs: programs(60),
  // each build of the layer is a log of its own, so all connections to one log share one build
  makeLog: Effect.map(Layer.build(layerRecorders), (services) => Layer.succeedContext(services))
}

recorderContract(memory)
multiStreamAppendContract(memory)
trackedAppendContract(memory)
processContract(memory)
streamCatalogContract(memory)
snapshotRecorderContract(memory)
