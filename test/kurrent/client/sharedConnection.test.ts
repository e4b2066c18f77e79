/** One connection, shared by the client and the recorder. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { KurrentClient, layerConnected, layerRecorders } from "effect-eventsourcing/kurrent"
import { Recorder } from "../../../src/Recorder.ts"
import { fromStorage } from "../../../src/StreamName.ts"
import { happened } from "../support/client.ts"
import { newPrefix, uri } from "../support/server.ts"

describe("a connection that is shared", () => {
  it.live("serves the client and a recorder, which see what the other appends", () => {
    const prefix = newPrefix()
    const both = Layer.mergeAll(KurrentClient.layerNoDeps, layerRecorders({ prefix }))
    return Effect.gen(function* () {
      const client = yield* KurrentClient
      const recorder = yield* Recorder
      yield* client.append(`${prefix}Dog-1`, [{ type: "Registered", data: { n: 0 } }], { expected: "NoStream" })
      const page = yield* recorder.readStream({ stream: fromStorage("Dog-1"), limit: 10 })
      assert.deepStrictEqual(
        page.map(({ type, payload }) => [type, payload]),
        [["Registered", '{"n":0}']]
      )
      const [first] = yield* Stream.runCollect(client.readStream(`${prefix}Dog-1`))
      assert.strictEqual(yield* recorder.head, first?.position)
    }).pipe(Effect.provide(Layer.provide(both, layerConnected({ connectionString: uri }))))
  })
})

describe("the types of the client", () => {
  /** Compiled, and never run. */
  const never = (client: KurrentClient["Service"]) => [
    // @ts-expect-error the expected outcome is missing
    client.append("stream", [happened(0)]),
    // @ts-expect-error a revision is a bigint
    client.append("stream", [happened(0)], { expected: 1 }),
    // @ts-expect-error a stream that may be at any version need not be checked
    client.appendRecords([], [{ stream: "stream", expected: "Any" }]),
    // @ts-expect-error a delete can't expect this version
    client.deleteStream("stream", { expected: "StreamExists" }),
    // @ts-expect-error names have prefixes or patterns
    client.readAll({ filter: { on: "type", prefixes: ["A"], exclude: ["B"] } }),
    client.persistentSubscriptions.create("$all", "group", { filter: { on: "type", prefixes: ["A"] } }),
    // @ts-expect-error only subscriptions to all events have a filter
    client.persistentSubscriptions.create("stream", "group", { filter: { on: "type", prefixes: ["A"] } })
  ]

  it("refuse invalid arguments", () => assert.isFunction(never))
})
