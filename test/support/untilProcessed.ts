/** Waiting for a view, in tests which prove that it gets there, and not how soon. */
import type { Position, View } from "effect-eventsourcing"
import { Projection } from "effect-eventsourcing"

/**
 * Waits until a view has processed a position, as long as the test may take; `Projection.wait` gives up after 5
 * seconds.
 */
export const untilProcessed = <K extends View.Any>(
  projection: Parameters<typeof Projection.wait<K>>[0],
  position: Position.Position | undefined
) => Projection.wait(projection, position, { timeout: "Infinity" })
