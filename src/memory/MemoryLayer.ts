/** Event sourcing in memory, for tests and prototypes. */
import { Layer } from "effect"
import * as EventSourcing from "../EventSourcing.ts"
import * as MemoryRecorder from "./MemoryRecorder.ts"

/**
 * The whole library on a log in memory. Each build of the layer has a log of its own, gone when the process ends.
 *
 * Guarantees: all but G5.
 */
export const MemoryLayer = <E = never, R = never>(
  options: EventSourcing.Options<E, R> = {}
): Layer.Layer<EventSourcing.EventSourcing | MemoryRecorder.Services, E, R> =>
  Layer.provideMerge(EventSourcing.layer(options), Layer.fresh(MemoryRecorder.layer))
