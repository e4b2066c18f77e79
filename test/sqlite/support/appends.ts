/** Appends as a recorder gets them. */
import { randomUUID } from "node:crypto"
import type { Recorder, StoredEvent } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"

/** A stored event: with an id of its own, and defaults for what is not given. */
export const event = (given: Partial<StoredEvent.StoredEvent> = {}): StoredEvent.StoredEvent => ({
  id: randomUUID(),
  type: "Test.Happened",
  schemaVersion: 1,
  encoding: "json",
  payload: "{}",
  metadata: "{}",
  recordedAt: 0,
  ...given
})

/** An append of events to a new stream, unless another version is expected. */
export const append = (
  stream: string,
  given: {
    readonly expected?: Recorder.ExpectedVersion
    readonly events?: readonly [StoredEvent.StoredEvent, ...ReadonlyArray<StoredEvent.StoredEvent>]
  } = {}
): Recorder.Append => ({
  stream: StreamName.StreamName.make(stream),
  expected: given.expected ?? "NoStream",
  events: given.events ?? [event()]
})
