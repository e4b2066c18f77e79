/** A version that is to handle an event that it has ignored: the ignored events are missing from its view. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope as Scopes } from "effect"
import type { View } from "effect-eventsourcing"
import { Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { Dog } from "../support/dog.ts"
import { inViews } from "./support/harness.ts"
import { untilState } from "./support/runnerStates.ts"
import { kinds } from "./support/viewKinds.ts"

type Any = Projection.Followed<View.Sql<never> | View.Memory<number>, Projection.Delivery, never>

/** Handles registrations and tricks; each is ignored if it is not among `handled`. */
const make = (of: string, handled: ReadonlyArray<"Registered" | "TrickAdded">, version = 1): Any => {
  const handle = (tag: "Registered" | "TrickAdded") => (handled.includes(tag) ? () => Effect.void : Projection.ignore)
  const definition = {
    version,
    aggregates: [Dog] as const,
    handlers: { Dog: { Registered: handle("Registered"), TrickAdded: handle("TrickAdded"), Rested: Projection.ignore } }
  }
  return of === "memory"
    ? Projection.make("handled", { ...definition, view: Projection.memory(() => 0) })
    : Projection.make("handled", { ...definition, view: Projection.sql(() => Effect.void) })
}

/** Runs it until it is live, or returns why it has stopped. */
const run = (projection: Any) =>
  Effect.gen(function* () {
    const scope = yield* Scopes.fork(yield* Effect.scope)
    const runner = yield* Scopes.provide(ProjectionRunner.make(projection), scope)
    const ended = yield* Effect.raceFirst(
      Effect.as(untilState(runner, "Live"), "live"),
      Effect.map(Effect.flip(runner.join), ({ message }) => message)
    )
    yield* Scopes.close(scope, Exit.void)
    return ended
  })

describe.concurrent.each(Object.entries(kinds))("with a view in %s", (of, kind) => {
  it.live("G12 a version that ignored an event is refused as soon as it handles it, with the event's name", () =>
    inViews(
      kind,
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        // nothing was missed at the start
        assert.strictEqual(yield* run(make(of, [])), "live")
        assert.strictEqual(yield* run(make(of, ["Registered"])), "live")
        const { position } = yield* dogs.execute(Dog.id("Fido"), Dog.Registered({ name: "Fido" }))
        const first = yield* ProjectionRunner.make(make(of, ["Registered"])).pipe(
          Effect.andThen(Projection.wait(make(of, ["Registered"]), position)),
          Effect.scoped,
          Effect.as("live")
        )
        assert.strictEqual(first, "live")
        const refused = yield* run(make(of, ["Registered", "TrickAdded"]))
        assert.include(refused, "version 1 has ignored Dog.TrickAdded so far but is now defined to handle it")
        assert.include(refused, "a higher version")
        // refused each time, and a refusal changes nothing of what is stored
        assert.strictEqual(yield* run(make(of, ["Registered", "TrickAdded"])), refused)
        assert.strictEqual(yield* run(make(of, ["Registered"])), "live")
        // an event that is no longer handled, and then again, was missed in between
        assert.strictEqual(yield* run(make(of, [])), "live")
        assert.include(yield* run(make(of, ["Registered"])), "has ignored Dog.Registered")
        assert.strictEqual(yield* run(make(of, ["Registered", "TrickAdded"], 2)), "live")
        yield* Projection.reset(make(of, ["Registered", "TrickAdded"]))
        assert.strictEqual(yield* run(make(of, ["Registered", "TrickAdded"])), "live")
      })
    )
  )
})
