import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schema } from "effect"
import { Aggregate, Recorder, Repository, SnapshotRecorder } from "effect-eventsourcing"
import { Counter, increase } from "../support/dog.ts"
import { makeLog, open, withRecorder } from "../support/memoryLog.ts"
import { ada, bob, Purse, purses } from "../support/purse.ts"

/** A shelf whose reducer throws if an event does not fit the state. */
const Shelf = Aggregate.make("Shelf", {
  state: Schema.Array(Schema.String),
  creation: { Built: {} },
  events: { Added: { book: Schema.String }, Removed: { book: Schema.String } },
  reduce: {
    Built: () => [],
    Added: (books, { book }) => [...books, book],
    Removed: (books, { book }) => {
      if (!books.includes(book)) throw new Error(`nothing to remove: ${book}`)
      return books.filter((other) => other !== book)
    }
  }
})
const shelf = Shelf.Id.make("1")

describe("a cached state that is out of date", () => {
  const twoProcesses = Effect.gen(function* () {
    const log = yield* makeLog
    const here = (yield* open(log)).repository.of(Shelf)
    const there = (yield* open(log)).repository.of(Shelf)
    yield* here.execute(shelf, Shelf.Built())
    yield* there.execute(shelf, Shelf.Added({ book: "Emma" }))
    return here
  })

  it.effect("does not turn an event that its reducer refuses into a defect", () =>
    Effect.gen(function* () {
      const here = yield* twoProcesses
      const { state } = yield* here.execute(shelf, Shelf.Removed({ book: "Emma" }))
      assert.deepStrictEqual(state, [])
    })
  )

  it.effect("does not turn a decision that throws on it into a defect", () =>
    Effect.gen(function* () {
      const here = yield* twoProcesses
      const removeFirst = Shelf.decide(([book]) => {
        if (book === undefined) throw new Error("an empty shelf")
        return Shelf.Removed({ book })
      })
      const { state } = yield* here.execute(shelf, removeFirst)
      assert.deepStrictEqual(state, [])
    })
  )
})

describe("inconsistent states", () => {
  it.effect("do not turn a transaction's decision that throws on them into a defect", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const { repository: other } = yield* open(log)
      let meanwhile = Effect.provideContext(
        other.transaction({ ada: Repository.existing(Purse, ada), bob: Repository.existing(Purse, bob) }, () => ({
          ada: Purse.Taken({ coins: 10 }),
          bob: Purse.Put({ coins: 10 })
        })),
        log
      ).pipe(Effect.orDie, Effect.asVoid)
      // another process moves the coins after the first participant was read
      const torn = withRecorder(log, (recorder) => ({
        readStream: (read) =>
          Effect.tap(recorder.readStream(read), () => {
            const once = meanwhile
            meanwhile = Effect.void
            return once
          })
      }))
      const { repository: torn1 } = yield* open(torn)
      const sum = torn1.transaction(
        { ada: Repository.existing(Purse, ada), bob: Repository.existing(Purse, bob) },
        ({ ada, bob }) => {
          if (ada + bob !== 10) throw new Error(`there are ${ada + bob} coins`)
          return {}
        }
      )
      const { bob: after } = yield* Effect.provideContext(sum, torn)
      assert.strictEqual(after.state, 10)
      assert.strictEqual((yield* repository.of(Purse).get(ada)).state, 0)
    })
  )
})

describe("a log that was restored from a backup", () => {
  it.effect("leaves a snapshot of lost events unused", () =>
    Effect.gen(function* () {
      const one = Counter.Id.make("1")
      const full = yield* makeLog
      const counters = (yield* open(full)).repository.of(Counter)
      yield* counters.execute(one, [Counter.Started(), Counter.Increased({ to: 1 }), Counter.Increased({ to: 2 })])
      yield* counters.snapshot(one)
      const snapshot = yield* Context.get(full, SnapshotRecorder.SnapshotRecorder).load(Counter.stream(one))
      if (snapshot === undefined) return assert.fail("there is no snapshot")

      const restored = yield* makeLog
      const [first] = yield* Context.get(full, Recorder.Recorder).readStream({ stream: Counter.stream(one), limit: 1 })
      if (first === undefined) return assert.fail("there is no event")
      yield* Context.get(restored, Recorder.Recorder).append({
        stream: Counter.stream(one),
        expected: "NoStream",
        events: [first]
      })
      yield* Context.get(restored, SnapshotRecorder.SnapshotRecorder).save(snapshot)
      const again = (yield* open(restored)).repository.of(Counter)
      assert.deepInclude(yield* again.get(one), { version: 0, state: 0 })
      assert.deepInclude(yield* again.execute(one, increase), { version: 1, state: 1 })
    })
  )
})
