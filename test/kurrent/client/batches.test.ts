/**
 * Reads take what the client receives without parsing it: the events are the same as those that the client itself
 * returns.
 */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { binaryEvent, jsonEvent, KurrentDBClient, streamNameFilter } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import { Position, StreamName } from "effect-eventsourcing"
import type { Batches, Readable } from "../../../src/kurrent/client/batches.ts"
import * as Batch from "../../../src/kurrent/client/batches.ts"
import type { ReceivedEvent, ResolvedEvent } from "../../../src/kurrent/client/events.ts"
import { fromResolved, parseReceived } from "../../../src/kurrent/client/events.ts"
import { fromEvent, fromReceived, toEvent } from "../../../src/kurrent/log/codec.ts"
import { newAppend, openLog } from "../support/logs.ts"
import { uri } from "../support/server.ts"

const place = { stream: StreamName.StreamName.make("Dog-a"), version: 0, position: Position.Position.make(1n) }
const utf8 = new TextEncoder()

const received = (event: Partial<ReceivedEvent>): ReceivedEvent => ({
  streamId: "Dog-a",
  revision: 0n,
  id: randomUUID(),
  type: "Happened",
  isJson: true,
  data: utf8.encode("{}"),
  metadata: new Uint8Array(),
  created: 7,
  ...event
})

/** An event as it is stored, and as the server returns it. */
const storedOf = (payload: string | Uint8Array, metadata: string, more: object = {}) => {
  const stored = {
    ...{ id: randomUUID(), type: "Happened", schemaVersion: 1, encoding: "json", payload, metadata },
    ...{ recordedAt: 1_764_000_000_000, ...more }
  }
  const { data, metadata: kept } = toEvent(stored, true)
  const isJson = !(data instanceof Uint8Array)
  const event = received({
    id: stored.id,
    isJson,
    data: isJson ? utf8.encode(JSON.stringify(data)) : data,
    metadata: utf8.encode(JSON.stringify(kept))
  })
  return { stored, event }
}

const everyOne = async (batches: Batches) => {
  const all = []
  for await (const batch of batches) all.push(...batch)
  return all.map(parseReceived)
}

describe("G8 a received event", () => {
  it("is, if it is our own, what was stored", () => {
    for (const { stored, event } of [
      storedOf('{"name":"Ré","n":1}', "{}"),
      storedOf('{"name":"Rex"}', "{}", { recordedAt: 0 }),
      storedOf('{"name":"Rex"}', "{}", { recordedAt: -1 }),
      storedOf('{"name":"Rex"}', '{"$correlationId":"a"}'),
      storedOf('{ "kept": "as text" }', '{"a":"b"}', { schemaVersion: 2 }),
      storedOf("null", "{}"),
      storedOf(new Uint8Array([0, 255, 1]), "{}", { encoding: "json+zstd" })
    ]) {
      assert.deepStrictEqual(fromReceived(event, place), { ...stored, ...place })
    }
  })

  it("is, if it is another program's, what the client would have parsed", () => {
    const deep = `${"[".repeat(20_000)}1${"]".repeat(20_000)}`
    for (const data of ['{"a":1e999}', '{ "a" : [1, 2] }', '{"cut', '"text"', deep, "\u{feff}{}"]) {
      for (const metadata of ["", "[1,2]", '{"a":1}', "no JSON", '{"$schemaVersion":"3"}']) {
        const event = received({ data: utf8.encode(data), metadata: utf8.encode(metadata) })
        const { event: parsed } = parseReceived({ event })
        assert.isDefined(parsed)
        if (parsed !== undefined) assert.deepStrictEqual(fromReceived(event, place), fromEvent(parsed, place))
      }
    }
    assert.strictEqual(fromReceived(received({ data: utf8.encode('{"cut') }), place).payload, '"{\\"cut"')
  })

  it("is refused if its time is invalid", () => {
    for (const time of ["soon", "1.5", "12345678901234567"]) {
      const event = received({ metadata: utf8.encode(`{"$recordedAt":"${time}"}`) })
      assert.throws(() => fromReceived(event, place), "not an integer")
    }
  })

  it.live("is the same from a client without batches, and the same as that client's own events", () =>
    Effect.promise(async () => {
      const client = KurrentDBClient.connectionString(uri)
      try {
        const stream = `Batches-${randomUUID()}`
        const appended = await client.appendToStream(stream, [
          jsonEvent({ type: "A", data: { a: 1, b: ["ü"] }, metadata: { c: "d", e: [1] } }),
          jsonEvent({ type: "B", data: [null, 1.5] }),
          binaryEvent({ type: "C", data: new Uint8Array([0, 255]), metadata: { f: "g" } }),
          ...Array.from({ length: 100 }, (_, n) => jsonEvent({ type: "D", data: { n } }))
        ])
        const part = { direction: "forwards", resolveLinkTos: false } as const
        const ofStream = { ...part, fromRevision: 0n, maxCount: 103 }
        const plain: Readable = {
          readStream: (name, options) => client.readStream(name, options),
          readAll: (options) => client.readAll(options)
        }
        const own: Array<ResolvedEvent> = []
        for await (const event of client.readStream(stream, ofStream)) own.push(fromResolved(event))
        assert.lengthOf(own, 103)
        assert.strictEqual(own[102]?.event?.revision, appended.nextExpectedRevision)
        assert.deepStrictEqual(await everyOne(Batch.ofStream(client, stream, ofStream)), own)
        assert.deepStrictEqual(await everyOne(Batch.ofStream(plain, stream, ofStream)), own)
        const commit = own[0]?.event?.position ?? 0n
        const filter = streamNameFilter({ prefixes: [stream] })
        const ofAll = { ...part, fromPosition: { commit, prepare: commit }, maxCount: 103, filter }
        assert.deepStrictEqual(await everyOne(Batch.ofAll(client, ofAll)), own)
        assert.deepStrictEqual(await everyOne(Batch.ofAll(plain, ofAll)), own)
      } finally {
        await client.dispose()
      }
    })
  )

  it.live("is not parsed by a read of the log", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const append = newAppend(`Dog-${randomUUID()}`, 300)
      yield* log.recorder.append(append)
      const parse = JSON.parse
      let parsed = 0
      JSON.parse = (...args) => {
        parsed++
        return parse(...args)
      }
      const read = yield* Effect.ensuring(
        Effect.zip(
          log.recorder.readStream({ stream: append.stream, limit: 1000 }),
          log.recorder.readAll({ limit: 1000, filter: { categories: ["Dog"] } })
        ),
        Effect.sync(() => {
          JSON.parse = parse
        })
      )
      assert.deepStrictEqual(
        read.map(({ length }) => length),
        [300, 300]
      )
      assert.isBelow(parsed, 300)
    })
  )
})
