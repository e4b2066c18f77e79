import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { MultiStreamAppend } from "effect-eventsourcing"
import type { Services } from "effect-eventsourcing/kurrent"
import { layerMultiStream } from "effect-eventsourcing/kurrent"
import type { Backend } from "effect-eventsourcing/testing"
import { multiStreamAppendContract } from "effect-eventsourcing/testing"
import { layerConnected } from "../../src/kurrent/client/Connected.ts"
import { isFake, isSince, newPrefix, uri } from "./support/server.ts"

const kurrent: Backend<Services | MultiStreamAppend.MultiStreamAppend> = {
  name: "KurrentDB",
  durable: true,
  ...(isFake ? {} : { programs: 5 }),
  makeLog: Effect.sync(() => {
    const prefix = newPrefix()
    return Layer.provide(layerMultiStream({ prefix }), Layer.fresh(layerConnected({ connectionString: uri })))
  })
}

if (isSince("25.1.0")) multiStreamAppendContract(kurrent)
else describe.skip("appends to several streams", () => it("are there from 25.1 on", () => {}))
