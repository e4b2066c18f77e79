import { Effect } from "effect"
import type { Services } from "effect-eventsourcing/postgres"
import type { Backend } from "effect-eventsourcing/testing/backend"
import {
  multiStreamAppendContract,
  processContract,
  recorderContract,
  snapshotRecorderContract,
  streamCatalogContract,
  trackedAppendContract,
  transactionalAppendContract
} from "effect-eventsourcing/testing/backend"
import { programs } from "../support/programCount.ts"
import { layerLog, newSchema } from "./support/database.ts"

const postgres: Backend<Services> = {
  name: "PostgreSQL",
  knowsPositions: true,
  durable: true,
  programs: programs(10),
  makeLog: Effect.map(newSchema, (schema) => layerLog(schema))
}

recorderContract(postgres)
multiStreamAppendContract(postgres)
trackedAppendContract(postgres)
processContract(postgres)
streamCatalogContract(postgres)
snapshotRecorderContract(postgres)
transactionalAppendContract(postgres)
