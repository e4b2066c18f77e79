/** Runs the tests of runners: with a log in memory, and a new place for views of some kind. */
import type { Scope } from "effect"
import { Effect, Layer, Logger } from "effect"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import type { Kind, Views } from "./viewKinds.ts"

export type Services = EventSourcing.EventSourcing | Recorder.Recorder | Views

/** Failures are the subject of these tests: logging them would only be noise. */
export const silent = Logger.layer([])

/** Runs a test with views of a kind; `change` modifies their place. */
export const inViews = <A, E, R>(
  kind: Pick<Kind, "make">,
  self: Effect.Effect<A, E, R | Services | Scope.Scope>,
  change: Layer.Layer<Views, unknown, Views> | undefined = undefined
): Effect.Effect<A, unknown, Scope.Scope | Exclude<R, Services | Scope.Scope>> =>
  Effect.gen(function* () {
    const place = yield* kind.make
    const views = change === undefined ? place : Layer.provide(change, place)
    // what the test has started ends before what it works on is closed
    return yield* Effect.provide(Effect.scoped(self), Layer.mergeAll(MemoryLayer(), views, silent))
  }) as never
