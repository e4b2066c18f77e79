import { describe, it } from "@effect/vitest"
import type * as Aggregate from "../../Aggregate.ts"
import type { Options } from "./properties.ts"
import { propertiesOf } from "./properties.ts"

/**
 * Registers the property tests of an aggregate, with one call in a test file that vitest runs.
 *
 * **When to use**
 *
 * Call this once for each aggregate, beside its tests with `given`.
 *
 * **Details**
 *
 * Values and histories are generated from the aggregate's own schemas. A counterexample is shrunk, and printed with a
 * token to replay it. The tests check that
 *
 * - each event is unchanged after it was encoded and decoded;
 * - each older version of an event, and of the state, decodes to the newest;
 * - the reducers are total: any event can follow any state, unless `canFollow` excludes it;
 * - the reducers are pure: they read neither the clock nor random numbers, and never modify their arguments;
 * - the state from a snapshot and the events after it is the state from all events;
 * - the events of each of the `decisions` can be recorded, and are accepted by the reducers.
 *
 * **Example** (The property tests of a door)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate } from "effect-eventsourcing"
 * import { testAggregate } from "effect-eventsourcing/testing/vitest"
 *
 * const Door = Aggregate.make("Door", {
 *   state: Schema.Literals(["open", "locked"]),
 *   creation: { Made: {} },
 *   events: { Locked: { by: Schema.NonEmptyString }, Unlocked: {} },
 *   reduce: { Made: () => "open" as const, Locked: () => "locked" as const, Unlocked: () => "open" as const }
 * })
 *
 * testAggregate(Door)
 * ```
 */
export const testAggregate = <A extends Aggregate.Any>(aggregate: A, options: Options<A> = {}): void => {
  describe(`aggregate ${aggregate.name}`, () => {
    for (const { arbitrary, check, input, name } of propertiesOf(aggregate, options)) {
      try {
        const settings = options.arbitrary === undefined ? {} : { arbitrary: options.arbitrary }
        it.effect.prop(name, { [input]: arbitrary() }, (values) => check(values[input]), settings)
      } catch (error) {
        // values can't be generated from a schema: this becomes a failing test instead of a test file that can't be
        // loaded
        it(name, () => {
          throw error
        })
      }
    }
  })
}
