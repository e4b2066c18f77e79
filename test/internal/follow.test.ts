import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { Recorder } from "effect-eventsourcing"
import * as Memory from "effect-eventsourcing/memory"
import * as Sqlite from "effect-eventsourcing/sqlite"
import * as Temporary from "../sqlite/support/temporary.ts"

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
  it.effect("fails, and does not wait for ever, once the log is closed", () =>
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
