/**
 * G11: what was removed from the log, or belongs to a different log since it was restored, does not live on in the
 * cache.
 */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer } from "effect"
import { Repository } from "effect-eventsourcing"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { Dog } from "../support/dog.ts"
import { makeLog, open, withRecorder } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")

/** A process with a warm cache, and an operator's shell. */
const opened = Effect.gen(function* () {
  const filename = yield* Temporary.file
  const context = yield* Layer.build(SqliteLayer({ filename }))
  const dogs = Context.get(context, Repository.Repository).of(Dog)
  yield* dogs.execute(rex, [Dog.Registered({ name: "Rex" }), Dog.TrickAdded({ trick: "sit" })])
  const shell = yield* Effect.acquireRelease(
    Effect.sync(() => new DatabaseSync(filename)),
    (db) => Effect.sync(() => db.close())
  )
  return { dogs, filename, shell, repository: Context.get(context, Repository.Repository) }
})

describe("a stream that was removed", () => {
  it.effect("is gone for repositories that have it in the cache", () =>
    Effect.gen(function* () {
      const { dogs, repository, shell } = yield* opened
      shell.exec("DELETE FROM stored_events; DELETE FROM stored_snapshots")
      for (const gone of [
        dogs.get(rex),
        dogs.get(rex, { version: 1 }),
        dogs.snapshot(rex),
        dogs.execute(
          rex,
          Dog.decide(() => [])
        ),
        dogs.execute(rex, Dog.Rested()),
        repository.of(Dog).get(rex)
      ]) {
        assert.strictEqual((yield* Effect.flip(gone))._tag, "AggregateNotFound")
      }
      assert.strictEqual(shell.prepare("SELECT * FROM stored_snapshots").all().length, 0)
    })
  )

  it.effect("can begin again at once, as in a test suite that removes everything between its tests", () =>
    Effect.gen(function* () {
      const { dogs, shell } = yield* opened
      shell.exec("DELETE FROM stored_events")
      assert.deepInclude((yield* dogs.execute(rex, Dog.Registered({ name: "Max" }))).state, { name: "Max" })
      assert.deepInclude(yield* dogs.execute(rex, Dog.Rested()), { version: 1, state: { name: "Max", tricks: [] } })
    })
  )

  it.effect("is not taken for a new one that has come as far since", () =>
    Effect.gen(function* () {
      const { dogs, filename, shell } = yield* opened
      shell.exec("DELETE FROM stored_events")
      const there = (yield* Layer.build(Layer.fresh(SqliteLayer({ filename })))).pipe(
        Context.get(Repository.Repository)
      )
      const events = [Dog.Registered({ name: "Max" }), Dog.Rested(), Dog.Rested()] as const
      yield* there.of(Dog).execute(rex, events)
      assert.deepInclude(yield* dogs.get(rex), { version: 2, state: { name: "Max", tricks: [] } })
    })
  )
})

it.effect("a snapshot of a removed stream is not taken for one of the new stream", () =>
  Effect.gen(function* () {
    const { dogs, filename, shell } = yield* opened
    yield* dogs.snapshot(rex)
    const open = Effect.map(Layer.build(Layer.fresh(SqliteLayer({ filename }))), (context) =>
      Context.get(context, Repository.Repository).of(Dog)
    )
    const second = yield* open
    assert.deepInclude((yield* second.get(rex)).state, { name: "Rex" })
    shell.exec("DELETE FROM stored_events")
    yield* (yield* open).execute(rex, [Dog.Registered({ name: "Max" }), Dog.Rested()])
    for (const one of [dogs, second, yield* open]) {
      assert.deepInclude(yield* one.get(rex), { version: 1, state: { name: "Max", tricks: [] } })
    }
  })
)

it.effect("a state that is read while the aggregate is forgotten is not cached", () =>
  Effect.gen(function* () {
    const log = yield* makeLog
    const writer = yield* open(log)
    yield* writer.repository.of(Dog).execute(rex, Dog.Registered({ name: "Rex" }))
    const [reading, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const slow = withRecorder(log, ({ readStream }) => ({
      readStream: (read) =>
        Effect.tap(readStream(read), () => Effect.andThen(Deferred.succeed(reading, undefined), Deferred.await(go)))
    }))
    const dogs = (yield* open(slow)).repository.of(Dog)
    const got = yield* Effect.forkChild(dogs.get(rex))
    yield* Deferred.await(reading)
    yield* dogs.forget(rex)
    yield* writer.store.append(Dog, rex, { expected: 0, events: [Dog.Rested()] })
    yield* Deferred.succeed(go, undefined)
    yield* Fiber.join(got)
    assert.deepInclude(yield* dogs.get(rex, { allowStale: true }), { version: 1 })
  })
)

it.effect("forget: the next read gets the recorded events", () =>
  Effect.gen(function* () {
    const { repository, store } = yield* open(yield* makeLog)
    const dogs = repository.of(Dog)
    yield* dogs.execute(rex, Dog.Registered({ name: "Rex" }))
    yield* store.append(Dog, rex, { expected: 0, events: [Dog.Rested()] })
    assert.deepInclude(yield* dogs.get(rex, { allowStale: true }), { version: 0 })
    yield* dogs.forget(rex)
    assert.deepInclude(yield* dogs.get(rex, { allowStale: true }), { version: 1 })
    // it forgets nothing of what it does not know
    yield* dogs.forget(Dog.Id.make("nobody"))
  })
)
