/** The versions of the events of an append, which follow from the version that it expects. */
import type { Append, ExpectedVersion } from "../../Recorder.ts"

/** The version of the first event. */
export const firstVersion = (expected: ExpectedVersion): number => (expected === "NoStream" ? 0 : expected + 1)

/** The version of the last event. */
export const lastVersion = ({ expected, events }: Pick<Append, "expected" | "events">): number =>
  firstVersion(expected) + events.length - 1
