import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { Counter } from "../support/dog.ts"
import type { Log } from "../support/memoryLog.ts"
import { makeLog, open, withRecorder } from "../support/memoryLog.ts"

const one = Counter.Id.make("1")
const LENGTH = 1100

/** A log that has lost an event of a stream. */
const without = (log: Log, lost: number): Log =>
  withRecorder(log, (recorder) => ({
    readStream: (read) =>
      Effect.map(recorder.readStream({ ...read, limit: read.limit + 1 }), (page) =>
        page.filter(({ version }) => version !== lost).slice(0, read.limit)
      )
  }))

const started = Effect.gen(function* () {
  const log = yield* makeLog
  const { store } = yield* open(log)
  const events = Array.from({ length: LENGTH }, (_, i) => (i === 0 ? Counter.Started() : Counter.Increased({ to: i })))
  yield* store.append(Counter, one, { expected: "NoStream", events })
  return log
})

describe("G8 a hole in a stream", () => {
  // the first, one within a page, and the last and first of pages of 512, in both directions
  it.effect.each([0, 1, 511, 512, LENGTH - 512, LENGTH - 513, LENGTH - 2])(
    "is not skipped, forward or backward: event %i is missing",
    (lost) =>
      Effect.gen(function* () {
        const { store, repository } = yield* open(without(yield* started, lost))
        for (const direction of ["forward", "backward"] as const) {
          const error = yield* Effect.flip(Stream.runDrain(store.read(Counter, one, { direction })))
          assert.strictEqual(error._tag, "RecorderFailure")
          assert.match(error.message, new RegExp(`event ${lost} is missing`))
        }
        assert.isTrue(Exit.isFailure(yield* Effect.exit(repository.of(Counter).get(one))))
      })
  )

  it.effect("does not matter if the read ends before it, or begins after it", () =>
    Effect.gen(function* () {
      const { store } = yield* open(without(yield* started, 600))
      const count = (options: Parameters<typeof store.read>[2]) => Stream.runCount(store.read(Counter, one, options))
      assert.strictEqual(yield* count({ upTo: 599 }), 600)
      assert.strictEqual(yield* count({ after: 600 }), LENGTH - 601)
      assert.strictEqual(yield* count({ direction: "backward", upTo: 601 }), LENGTH - 601)
      assert.strictEqual(yield* count({ direction: "backward", after: 600 }), 600)
      // a place after the last event is not a missing one
      assert.strictEqual(yield* count({ direction: "backward", after: 5000, upTo: 601 }), LENGTH - 601)
    })
  )
})
