import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventSourcingError, Recorder } from "effect-eventsourcing"
import * as Memory from "effect-eventsourcing/memory"
import * as Sqlite from "effect-eventsourcing/sqlite"
import { makeChangeSignal } from "../../../src/internal/following/changeSignal.ts"
import { followPages } from "../../../src/internal/following/followPages.ts"
import * as Temporary from "../../sqlite/support/temporaryFile.ts"
import { uncaught } from "../../support/uncaughtError.ts"

/** SQLite, with the file open elsewhere in the process before and after. */
const sharedSqlite = Effect.gen(function* () {
  const filename = yield* Temporary.file
  yield* Layer.build(Layer.fresh(Sqlite.layerSqlClient({ filename })))
  return Sqlite.layerRecorders({ filename })
})

const sqlite = Layer.unwrap(Effect.map(Temporary.file, (filename) => Sqlite.layerRecorders({ filename })))

describe.each([
  ["memory", Effect.succeed(Layer.fresh(Memory.layerRecorders))],
  ["SQLite", Effect.succeed(sqlite)],
  ["SQLite, whose file others have open", sharedSqlite]
] as const)("following on %s", (_name, makeLayer) => {
  it.effect("fails, and does not wait forever, once the log is closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { follow } = Context.get(yield* Scope.provide(Layer.build(yield* makeLayer), scope), Recorder.Recorder)
      const live = yield* Deferred.make<void>()
      const following = yield* Effect.forkChild(
        Effect.flip(
          Stream.runForEach(follow({}), ({ caughtUp }) =>
            Deferred.succeed(live, undefined).pipe(Effect.when(Effect.succeed(caughtUp)))
          )
        ),
        { startImmediately: true }
      )
      yield* Deferred.await(live)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Fiber.join(following)
      assert.deepInclude(error, { _tag: "RecorderFailure", reason: "the log was closed" })
    })
  )
})

it.effect("G12 a follower that can't read reports since when it has been retrying, and resumes on its own", () =>
  Effect.gen(function* () {
    const error = new EventSourcingError.RecorderUnavailable({ operation: "read the log", reason: "it is away" })
    let failures = 3
    const readAll = () => Effect.suspend(() => (failures-- > 0 ? Effect.fail(error) : Effect.succeed([])))
    const states: Array<Recorder.FollowState> = []
    const live = yield* Deferred.make<void>()
    const onState = (state: Recorder.FollowState) =>
      Effect.andThen(
        Effect.sync(() => states.push(state)),
        state._tag === "Live" ? Deferred.succeed(live, undefined) : Effect.void
      ).pipe(Effect.asVoid)
    yield* TestClock.setTime(1000)
    yield* followPages(
      { readAll, head: Effect.undefined },
      makeChangeSignal()
    )({ onState }).pipe(Stream.runDrain, Effect.forkScoped({ startImmediately: true }))
    yield* TestClock.adjust("1 minute")
    yield* Deferred.await(live)
    const retrying = (attempts: number) => ({ _tag: "Retrying", position: undefined, since: 1000, attempts, error })
    assert.deepStrictEqual(states, [
      { _tag: "CatchingUp", position: undefined },
      ...[retrying(1), retrying(2), retrying(3)],
      { _tag: "Live", position: undefined }
    ] as ReadonlyArray<Recorder.FollowState>)
  })
)

it.effect("a follower whose observer throws does not keep others from being woken", () =>
  Effect.gen(function* () {
    const changes = makeChangeSignal()
    const thrown = new Error("an observer's own")
    const reported = yield* Effect.forkChild(uncaught, { startImmediately: true })
    Effect.runCallback(changes.after(0), {
      onExit: () => {
        throw thrown
      }
    })
    const other = yield* Effect.forkChild(changes.after(0), { startImmediately: true })
    changes.notify()
    yield* Fiber.join(other)
    assert.strictEqual(yield* Fiber.join(reported), thrown)
  })
)
