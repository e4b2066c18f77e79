import { assert } from "@effect/vitest"
import type { WrongExpectedVersion } from "../../../EventSourcingError.ts"
import type { ExpectedVersion } from "../../../Recorder.ts"
import type { Notification } from "../../../StoredEvent.ts"
import type { Batch } from "./model.ts"
import { ids, nextVersion } from "./reading.ts"

/** A batch that was sent, the times (by a clock that ticks with each call and each return), and the outcome. */
export interface Sent {
  readonly batch: Batch
  readonly called: number
  readonly returned: number
  readonly outcome: { readonly versions: ReadonlyArray<number>; readonly position: bigint } | WrongExpectedVersion
}

/** The whole log, as it was read at some time. */
export interface Seen {
  readonly log: ReadonlyArray<Notification>
  readonly called: number
  readonly returned: number
}

interface Recorded {
  /** Before this, none of the batch can have been recorded. */
  readonly called: number
  /** After this, all of it is recorded. */
  readonly returned: number
  readonly firstIndex: number
  readonly lastIndex: number
}

/**
 * Checks that the results of concurrent calls are those of some sequential order of the calls which keeps the order of
 * calls that did not overlap: the order of the log (G1, G2, G3, G7).
 */
export const assertSequential = (
  log: ReadonlyArray<Notification>,
  sent: ReadonlyArray<Sent>,
  seen: ReadonlyArray<Seen>
) => {
  const recorded = new Map<Batch, Recorded>()
  for (const [batch, sends] of Map.groupBy(sent, (one) => one.batch)) {
    const place = placeOf(log, batch, sends)
    if (place !== undefined) recorded.set(batch, place)
  }
  assert.strictEqual(log.length, countEvents([...recorded.keys()]), "events that no caller was told of")

  const inOrder = [...recorded.values()].sort((a, b) => a.firstIndex - b.firstIndex)
  inOrder.forEach((one, i) => {
    for (const later of inOrder.slice(i + 1)) {
      assert.isTrue(later.returned > one.called, "a batch comes after one that was sent only once it had completed")
    }
  })
  for (const one of sent) {
    if ("versions" in one.outcome) continue
    assertRefusal(log, one, one.outcome, recorded)
  }
  for (const one of seen) assertSeen(log, one, inOrder)
}

const countEvents = (batches: ReadonlyArray<Batch>): number =>
  batches.reduce((count, { appends }) => appends.reduce((sum, { events }) => sum + events.length, count), 0)

/**
 * The place of a batch in the log: as a whole, once, where it was expected, and as it was returned to callers, if to
 * any.
 */
const placeOf = (log: ReadonlyArray<Notification>, batch: Batch, sends: ReadonlyArray<Sent>): Recorded | undefined => {
  const answers = sends.flatMap(({ outcome, returned }) => ("versions" in outcome ? [{ ...outcome, returned }] : []))
  const batchIds = new Set(batch.appends.flatMap(({ events }) => ids(events)))
  const indexes = log.flatMap(({ id }, i) => (batchIds.has(id) ? [i] : []))
  assert.strictEqual(indexes.length, answers.length === 0 ? 0 : batchIds.size, "events of a batch in the log")
  const [firstIndex] = indexes
  const lastIndex = indexes.at(-1)
  if (firstIndex === undefined || lastIndex === undefined) return undefined

  assert.strictEqual(lastIndex - firstIndex, batchIds.size - 1, "a batch is in the log without others in between")
  for (const { stream, expected, events } of batch.appends) {
    const there = log.slice(firstIndex, lastIndex + 1).filter((one) => one.stream === stream)
    assert.deepStrictEqual(ids(there), ids(events))
    assert.strictEqual(there[0]?.version, nextVersion(expected))
  }
  for (const { stream, expected } of batch.checks) {
    assert.strictEqual(log.slice(0, firstIndex).filter((one) => one.stream === stream).length, nextVersion(expected))
  }
  const versions = batch.appends.map(({ expected, events }) => nextVersion(expected) + events.length - 1)
  for (const answer of answers) {
    assert.deepStrictEqual([...answer.versions], versions)
    assert.strictEqual(answer.position, log[lastIndex]?.position)
  }
  return {
    called: Math.min(...sends.map(({ called }) => called)),
    returned: Math.min(...answers.map(({ returned }) => returned)),
    firstIndex,
    lastIndex
  }
}

/** A refusal names a state that the stream was in during the call, and that differs from the expected one. */
const assertRefusal = (
  log: ReadonlyArray<Notification>,
  { batch, called, returned }: Sent,
  { stream, expected, actual }: WrongExpectedVersion,
  recorded: ReadonlyMap<Batch, Recorded>
): void => {
  const own = recorded.get(batch)
  assert.isTrue(own === undefined || own.returned > called, "a batch was refused although it had been recorded before")
  const parts = [...batch.appends, ...batch.checks]
  assert.isTrue(
    parts.some((part) => part.stream === stream && part.expected === expected),
    "a part of the batch"
  )
  assert.notStrictEqual(actual, expected)

  const recordingOf = (version: ExpectedVersion): Recorded | undefined => {
    const index = log.findIndex((one) => one.stream === stream && one.version === version)
    return [...recorded.values()].find((one) => one.firstIndex <= index && index <= one.lastIndex)
  }
  if (actual !== "NoStream") {
    const there = recordingOf(actual)
    assert.isTrue(there !== undefined && there.called < returned, `"${stream}" had not reached ${actual} yet`)
  }
  const next = recordingOf(nextVersion(actual))
  assert.isTrue(next === undefined || next.returned > called, `"${stream}" was already beyond ${actual}`)
}

/** A reader sees a beginning of the log, with all appends that had returned before. */
const assertSeen = (log: ReadonlyArray<Notification>, seen: Seen, recorded: ReadonlyArray<Recorded>): void => {
  assert.deepStrictEqual(ids(seen.log), ids(log.slice(0, seen.log.length)))
  for (const { called, returned, firstIndex, lastIndex } of recorded) {
    if (returned < seen.called) assert.isBelow(lastIndex, seen.log.length, "a completed batch is seen")
    if (called > seen.returned) assert.isAtLeast(firstIndex, seen.log.length, "a batch is not seen before it is sent")
    const isWhole = lastIndex < seen.log.length || firstIndex >= seen.log.length
    assert.isTrue(isWhole, "a batch is seen as a whole")
  }
}
