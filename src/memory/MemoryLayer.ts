/** Event sourcing in memory, for tests and prototypes. */
import { Layer } from "effect"
import * as EventSourcing from "../EventSourcing.ts"
import * as MemoryRecorder from "./MemoryRecorder.ts"

/**
 * The whole library on a log in memory.
 *
 * **When to use**
 *
 * Use this for tests and prototypes. Use `SqliteLayer` if the events should outlive the process without a server.
 *
 * **Details**
 *
 * Guarantees: all but G5 (durability). Each build of the layer has a log of its own, which is gone when the process
 * ends.
 *
 * **Gotchas**
 *
 * Layers from two calls of `MemoryLayer()` have different logs: call it once, and share the layer.
 *
 * **Example** (An aggregate in memory)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Repository } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Counter = Aggregate.make("Counter", {
 *   state: Schema.Int,
 *   creation: { Started: {} },
 *   events: {},
 *   reduce: { Started: () => 0 }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* Repository.of(Counter)
 *   const { version } = yield* counters.execute(Counter.id("visits"), Counter.Started())
 *   console.log(version) // prints: 0
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provide(MemoryLayer())))
 * ```
 */
export const MemoryLayer = <E = never, R = never>(
  options: EventSourcing.Options<E, R> = {}
): Layer.Layer<EventSourcing.EventSourcing | MemoryRecorder.Services, E, R> =>
  Layer.provideMerge(EventSourcing.layer(options), Layer.fresh(MemoryRecorder.layer))
