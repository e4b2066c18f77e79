import type { Context } from "effect"
import { Effect, Tracer } from "effect"

/** Whether anybody would see a span: there is one already, or a tracer was installed. */
const isTraced = (context: Context.Context<never>): boolean =>
  context.mapUnsafe.has(Tracer.ParentSpan.key) || context.mapUnsafe.has(Tracer.Tracer.key)

/**
 * Wraps an operation in a span, where anybody would see it.
 *
 * A span costs 1 to 4 µs, as much as the rest of a cached command on the memory backend.
 */
export const withSpan =
  (name: string, attributes: Record<string, unknown>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.contextWith((context: Context.Context<never>) =>
      isTraced(context)
        ? (Effect.withSpan(self, `effect-eventsourcing/${name}`, { attributes }) as Effect.Effect<A, E, R>)
        : self
    )
