import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { Effect } from "effect"
import type { Services } from "effect-eventsourcing/sqlite"
import { layerRecorders } from "effect-eventsourcing/sqlite"
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

const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "contract-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

const sqlite: Backend<Services> = {
  name: "SQLite",
  knowsPositions: true,
  durable: true,
  programs: programs(20),
  makeLog: Effect.map(temporaryDirectory, (directory) => layerRecorders({ filename: Path.join(directory, "log.db") }))
}

recorderContract(sqlite)
multiStreamAppendContract(sqlite)
trackedAppendContract(sqlite)
processContract(sqlite)
streamCatalogContract(sqlite)
snapshotRecorderContract(sqlite)
transactionalAppendContract(sqlite)
