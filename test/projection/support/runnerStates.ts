/** The states that a runner reaches, and conditions to wait for. */
import { Effect, Schedule, Stream, SubscriptionRef } from "effect"
import type { ProjectionRunner } from "effect-eventsourcing"

/** Polls until the condition holds; the test's timeout is the deadline. */
export const until = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.asVoid(Effect.repeat(condition, { schedule: Schedule.spaced("2 millis"), until: (is) => is }))

/** Collects the states that a runner reaches from now on. */
export const watch = (runner: ProjectionRunner.ProjectionRunner) =>
  Effect.gen(function* () {
    const states: Array<ProjectionRunner.State> = []
    yield* SubscriptionRef.changes(runner.state).pipe(
      Stream.runForEach((state) => Effect.sync(() => states.push(state))),
      Effect.forkScoped({ startImmediately: true })
    )
    return states
  })

/** The names of states, without immediate repetitions. */
export const names = (states: ReadonlyArray<ProjectionRunner.State>): ReadonlyArray<string> =>
  states.map(({ _tag }) => _tag).filter((tag, i, tags) => tag !== tags[i - 1])

/** Waits until a runner is in a state, and returns that state. */
export const untilState = <Tag extends ProjectionRunner.State["_tag"]>(
  runner: ProjectionRunner.ProjectionRunner,
  tag: Tag
): Effect.Effect<Extract<ProjectionRunner.State, { readonly _tag: Tag }>> =>
  SubscriptionRef.changes(runner.state).pipe(
    Stream.filter((state): state is Extract<ProjectionRunner.State, { readonly _tag: Tag }> => state._tag === tag),
    Stream.runHead,
    Effect.flatMap(Effect.fromOption),
    Effect.orDie
  )
