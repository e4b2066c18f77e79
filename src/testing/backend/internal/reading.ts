import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { RecorderError } from "../../../EventSourcingError.ts"
import { WrongExpectedVersion } from "../../../EventSourcingError.ts"
import { isLastPage } from "../../../internal/backend/pageSize.ts"
import type { ExpectedVersion, ReadAll, Recorder } from "../../../Recorder.ts"
import type { Notification, StoredEvent } from "../../../StoredEvent.ts"
import * as StreamName from "../../../StreamName.ts"

/** A checked stream name. */
export const stream = (name: string): StreamName.StreamName => StreamName.StreamName.make(name)

/** Reads the total order to its end, page by page. */
export const readLog = (
  recorder: Recorder["Service"],
  read: Omit<ReadAll, "limit"> & { readonly limit?: number } = {}
): Effect.Effect<ReadonlyArray<Notification>, RecorderError> =>
  Effect.gen(function* () {
    const all: Array<Notification> = []
    const limit = read.limit ?? 1000
    while (true) {
      const page = yield* recorder.readAll({ ...read, after: all[all.length - 1]?.position ?? read.after, limit })
      all.push(...page)
      assert.isAtMost(page.length, limit)
      if (isLastPage(page, { limit, maxBytes: read.maxBytes })) return all
    }
  })

/** Reads a stream to its end, page by page. */
export const readStream = (
  recorder: Recorder["Service"],
  name: StreamName.StreamName,
  limit = 1000,
  maxBytes?: number
): Effect.Effect<ReadonlyArray<Notification>, RecorderError> =>
  Effect.gen(function* () {
    const all: Array<Notification> = []
    while (true) {
      const page = yield* recorder.readStream({ stream: name, after: all[all.length - 1]?.version, limit, maxBytes })
      all.push(...page)
      assert.isAtMost(page.length, limit)
      if (isLastPage(page, { limit, maxBytes })) return all
    }
  })

/** The current version of a stream. */
export const lastVersion = (
  recorder: Recorder["Service"],
  name: StreamName.StreamName
): Effect.Effect<ExpectedVersion, RecorderError> =>
  Effect.map(
    recorder.readStream({ stream: name, direction: "backward", limit: 1 }),
    ([last]) => last?.version ?? "NoStream"
  )

/** The version after an expected one. */
export const nextVersion = (expected: ExpectedVersion): number => (expected === "NoStream" ? 0 : expected + 1)

/**
 * Reads the whole log and each of its streams, and checks that they are in order: G3, G4, and versions without gaps.
 */
export const readOrderlyLog = (
  recorder: Recorder["Service"]
): Effect.Effect<ReadonlyArray<Notification>, RecorderError> =>
  Effect.gen(function* () {
    const log = yield* readLog(recorder)
    assertAscending(log)
    const streams = Map.groupBy(log, (notification) => notification.stream)
    for (const [name, inLog] of streams) {
      const versions = inLog.map(({ version }) => version)
      assert.deepStrictEqual(versions, Array.from(versions.keys()), `the versions of "${name}", in the total order`)
      assert.deepStrictEqual(places(yield* readStream(recorder, name)), places(inLog), `"${name}", as a stream`)
    }
    assert.strictEqual(yield* recorder.head, log[log.length - 1]?.position, "the head is the last event's position")
    return log
  })

/** Checks that positions are unique and strictly increasing (G3). */
export const assertAscending = (notifications: ReadonlyArray<Notification>): void => {
  notifications.forEach(({ position }, i) => {
    const before = notifications[i - 1]
    assert.isTrue(before === undefined || position > before.position, `position ${position} after ${before?.position}`)
  })
}

/** The streams and versions, to compare long lists with. */
export const places = (notifications: ReadonlyArray<Notification>): ReadonlyArray<string> =>
  notifications.map(({ stream, version, position, id }) => `${position}: ${version} of ${stream}: ${id}`)

/** The ids, to compare orders with. */
export const ids = (events: ReadonlyArray<StoredEvent>): ReadonlyArray<string> => events.map(({ id }) => id)

/** A stored event's fields in a form that compares by content, whatever class or prototype a driver returns. */
export const contents = (event: StoredEvent) => ({
  id: event.id,
  type: event.type,
  schemaVersion: event.schemaVersion,
  encoding: event.encoding,
  payload: payloadContents(event.payload),
  metadata: event.metadata,
  recordedAt: event.recordedAt
})

/** A payload in a form that distinguishes text from bytes and compares by content. */
export const payloadContents = (payload: string | Uint8Array) =>
  typeof payload === "string" ? { text: payload } : { hex: Buffer.from(payload).toString("hex") }

/** Checks the events of a stream: these, at the versions from `first` on. */
export const assertRecorded = (
  notifications: ReadonlyArray<Notification>,
  name: StreamName.StreamName,
  events: ReadonlyArray<StoredEvent>,
  first = 0
): void => {
  assert.deepStrictEqual(
    notifications.map((notification) => ({
      stream: notification.stream,
      version: notification.version,
      ...contents(notification)
    })),
    events.map((event, i) => ({ stream: name, version: first + i, ...contents(event) }))
  )
}

/** Checks that an append was refused, and the error. */
export const assertWrongVersion = (
  error: unknown,
  wrong: { readonly stream: string; readonly expected: ExpectedVersion; readonly actual: ExpectedVersion }
): void => {
  assert.instanceOf(error, WrongExpectedVersion)
  const { stream, expected, actual } = error
  assert.deepStrictEqual({ stream, expected, actual }, { ...wrong })
}
