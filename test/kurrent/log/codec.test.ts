/** What other programs have recorded is read back as it is, and is never silently lost. */
import { assert, describe, it } from "@effect/vitest"
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import { Position, StreamName } from "effect-eventsourcing"
import { fromEvent, toEvent } from "../../../src/kurrent/log/codec.ts"
import { openLog } from "../support/logs.ts"
import { uri } from "../support/server.ts"

const place = { stream: StreamName.StreamName.make("Dog-a"), version: 0, position: Position.Position.make(1n) }

const decoded = (data: unknown, metadata?: unknown, isJson = true) =>
  fromEvent({ id: crypto.randomUUID(), type: "Happened", isJson, data, metadata, created: new Date(0) } as never, place)

const nested = (depth: number): unknown => JSON.parse("[".repeat(depth) + "]".repeat(depth))

describe("G8 events of our own", () => {
  it("whose keys have an escape are stored as text, since the client's parser takes one key for another", () => {
    const stored = {
      id: crypto.randomUUID(),
      type: "Counted",
      schemaVersion: 1,
      encoding: "json",
      payload: '{"a\\n":1}',
      metadata: '{"b\\t":"x"}',
      recordedAt: 0
    }
    const { data, metadata } = toEvent(stored, true)
    assert.instanceOf(data, Uint8Array)
    const found = fromEvent({ ...stored, isJson: false, data, metadata, created: new Date(0) } as never, place)
    assert.deepInclude(found, stored)
    // an escape in a value, as opposed to a name, is stored as JSON, as always
    assert.deepStrictEqual(toEvent({ ...stored, payload: '{"a":"\\n"}', metadata: "{}" }, true).data, { a: "\n" })
  })
})

describe("G8 events of other programs", () => {
  it("numbers that are too large for JavaScript stay unchanged", () => {
    const { payload } = decoded(JSON.parse('{"a":1e999,"b":[-1e999,1],"c":{"d":1e999}}'))
    assert.strictEqual(payload, '{"a":1e999,"b":[-1e999,1],"c":{"d":1e999}}')
    assert.strictEqual(decoded(JSON.parse("1e999")).payload, "1e999")
    assert.strictEqual(decoded({}, JSON.parse('{"a":1e999}')).metadata, '{"a":"1e999"}')
  })

  it("data that are nested deeper than a program can go are text like any other", () => {
    const text = `${"[".repeat(20_000)}1,{"a":"b"}${"]".repeat(20_000)}`
    assert.isTrue(decoded(JSON.parse(text)).payload === text)
    const mixed = `${'{"a":['.repeat(20_000)}null,true,"x"${"]}".repeat(20_000)}`
    assert.isTrue(decoded(JSON.parse(mixed)).payload === mixed)
    assert.isTrue(
      JSON.parse(decoded({}, { deep: nested(20_000) }).metadata).deep ===
        JSON.parse(`"${"[".repeat(20_000)}${"]".repeat(20_000)}"`)
    )
  })

  it("metadata that are not an object are kept as text", () => {
    for (const [metadata, text] of [
      [[1, 2], "[1,2]"],
      ["text", '"text"'],
      [42, "42"],
      [null, "null"],
      [false, "false"],
      [new TextEncoder().encode("no JSON"), "no JSON"],
      [new Uint8Array([0xff, 0x00]), "/wA="]
    ] as const) {
      assert.deepStrictEqual(JSON.parse(decoded({}, metadata).metadata), { $metadata: text })
    }
    assert.strictEqual(decoded({}, undefined).metadata, "{}")
    assert.strictEqual(decoded({}, {}).metadata, "{}")
  })

  it.live("are read in this way from a server, and no read fails", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => KurrentDBClient.connectionString(uri)),
        (client) => Effect.promise(() => client.dispose())
      )
      const rawJson = (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON
      const bytes = (text: string) => new Uint8Array(new TextEncoder().encode(text))
      const events = [
        { data: { a: rawJson("1e999") } },
        { data: {}, metadata: bytes("[1,2]") },
        { data: {}, metadata: bytes("no JSON") },
        { data: {}, metadata: bytes(`{"deep":${"[".repeat(20_000)}${"]".repeat(20_000)}}`) }
      ].map((event) => ({ id: crypto.randomUUID(), type: "Happened", contentType: "application/json", ...event }))
      yield* Effect.promise(() => client.appendToStream(`${log.prefix}Dog-odd`, events as never))
      const read = yield* log.recorder.readAll({ limit: 10 })
      assert.lengthOf(read, 4)
      assert.strictEqual(read[0]?.payload, '{"a":1e999}')
      assert.deepStrictEqual(
        read.slice(1, 3).map(({ metadata }) => JSON.parse(metadata)),
        [{ $metadata: "[1,2]" }, { $metadata: "no JSON" }]
      )
      assert.lengthOf(JSON.parse(read[3]?.metadata ?? "{}").deep, 40_000)
    })
  )
})
