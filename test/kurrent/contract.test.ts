import { Effect, Layer } from "effect"
import type { Services } from "effect-eventsourcing/kurrent"
import { layerRecorders } from "effect-eventsourcing/kurrent"
import type { Backend } from "effect-eventsourcing/testing/backend"
import { recorderContract, snapshotRecorderContract } from "effect-eventsourcing/testing/backend"
import { layerConnected } from "../../src/kurrent/client/Connected.ts"
import { programs } from "../support/programCount.ts"
import { isFake, newPrefix, uri } from "./support/server.ts"

const kurrent: Backend<Services> = {
  name: "KurrentDB",
  durable: true,
  // on a server, a program with identical concurrent appends takes seconds: the server gives up those that it does not
  // answer
  programs: isFake ? programs(10) : 5,
  makeLog: Effect.sync(() => {
    const prefix = newPrefix()
    return Layer.provide(layerRecorders({ prefix }), Layer.fresh(layerConnected({ connectionString: uri })))
  })
}

recorderContract(kurrent)
snapshotRecorderContract(kurrent)
