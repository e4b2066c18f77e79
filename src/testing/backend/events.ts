/** Stored events to append in tests. */
import { randomUUID } from "node:crypto"
import { Array as Arr } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { StoredEvent } from "../../StoredEvent.ts"

/** An event with an id of its own, as plain JSON; pass what matters to the test. */
export const storedEvent = (fields: Partial<StoredEvent> = {}): StoredEvent => ({
  id: randomUUID(),
  type: "Dog.TrickAdded",
  schemaVersion: 1,
  encoding: "json",
  payload: '{"trick":"roll over"}',
  metadata: "{}",
  recordedAt: 1_700_000_000_000,
  ...fields
})

/** This many events (at least one), each with an id and a payload of its own. */
export const storedEvents = (count: number, fields: Partial<StoredEvent> = {}): NonEmptyReadonlyArray<StoredEvent> =>
  Arr.makeBy(count, (n) => storedEvent({ payload: `{"n":${n}}`, ...fields }))
