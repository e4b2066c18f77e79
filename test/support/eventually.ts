/** Conditions to wait for, as long as the test may take. */
import type { Exit } from "effect"
import { Cause, Effect } from "effect"

/**
 * Polls until a condition holds; checking it may also fail. The only limit is that of the test: a slow machine is not a
 * failure. When the test's time is up, the report says what was waited for.
 */
export const eventually = <E, R>(
  what: string,
  condition: Effect.Effect<boolean, E, R>
): Effect.Effect<void, never, R> =>
  Effect.suspend(() => {
    let last: Exit.Exit<boolean, E> | undefined
    const look: Effect.Effect<void, never, R> = Effect.flatMap(Effect.exit(condition), (exit) => {
      last = exit
      return exit._tag === "Success" && exit.value ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), look)
    })
    return Effect.onInterrupt(look, () =>
      Effect.sync(() => {
        const failed = last?._tag === "Failure" ? `, which last failed: ${Cause.pretty(last.cause)}` : ""
        console.error(`still waiting for this: ${what}${failed}`)
      })
    )
  })
