import { randomUUID } from "node:crypto"
import { Effect } from "effect"
import type { Position, StoredEvent } from "effect-eventsourcing"
import { Recorder } from "effect-eventsourcing"
import type { RawLog } from "./RawLog.ts"
import { template } from "./template.ts"

/** A row as `node:sqlite` would give it. */
interface Row extends Omit<StoredEvent.Notification, "stream" | "position" | "payload"> {
  readonly stream: string
  readonly position: number
  readonly payload: string
}

/** The library's log copied into one array, and an array for each stream to read it by; writing is a push onto the first. */
export const copy: Effect.Effect<RawLog, unknown, Recorder.Recorder> = Effect.gen(function* () {
  const { encoding, metadata, schemaVersion, type } = yield* template
  const log: Array<Row> = []
  const streams = new Map<string, Array<Row>>()
  for (const notification of yield* everything) {
    const row = { ...notification, position: log.length + 1, payload: String(notification.payload) }
    log.push(row)
    const stream = streams.get(row.stream)
    if (stream === undefined) streams.set(row.stream, [row])
    else stream.push(row)
  }
  return {
    transaction: (inserts) => inserts(),
    insert: (stream, version, item) => {
      log.push({
        id: randomUUID(),
        type,
        schemaVersion,
        encoding,
        payload: JSON.stringify(item),
        metadata,
        recordedAt: Date.now(),
        stream,
        version,
        position: log.length + 1
      })
    },
    readStream: (stream) => parse(streams.get(stream) ?? []),
    readAll: () => parse(log)
  }
})

const parse = (rows: ReadonlyArray<Row>): number => {
  const parsed: Array<unknown> = []
  for (const { metadata, payload } of rows) {
    JSON.parse(metadata)
    parsed.push(JSON.parse(payload))
  }
  return parsed.length
}

const everything = Effect.gen(function* () {
  const recorder = yield* Recorder.Recorder
  const all: Array<StoredEvent.Notification> = []
  let after: Position.Position | undefined
  while (true) {
    const page = yield* recorder.readAll({ after, limit: 1000 })
    all.push(...page)
    if (page.length < 1000) return all
    after = page[page.length - 1]?.position
  }
})
