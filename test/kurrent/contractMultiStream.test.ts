import { describe } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { MultiStreamServices } from "effect-eventsourcing/kurrent"
import { layerMultiStream } from "effect-eventsourcing/kurrent"
import type { Backend } from "effect-eventsourcing/testing/backend"
import { multiStreamAppendContract, processContract, trackedAppendContract } from "effect-eventsourcing/testing/backend"
import { layerConnected } from "../../src/kurrent/client/Connected.ts"
import { programs } from "../support/programCount.ts"
import { isFake, isSince, newPrefix, uri } from "./support/server.ts"

const kurrent: Backend<MultiStreamServices> = {
  name: "KurrentDB",
  durable: true,
  programs: isFake ? programs(10) : 5,
  makeLog: Effect.sync(() => {
    const prefix = newPrefix()
    return Layer.provide(layerMultiStream({ prefix }), Layer.fresh(layerConnected({ connectionString: uri })))
  })
}

// servers support appends to several streams from 25.1 on; on an older one the whole contract is skipped, and reported
// so
describe.skipIf(!isSince("25.1.0"))("from 25.1 on", () => {
  multiStreamAppendContract(kurrent)
  trackedAppendContract(kurrent)
})

// processes check streams that they do not append to
describe.skipIf(!isSince("26.1.0"))("from 26.1 on", () => {
  processContract(kurrent)
})
