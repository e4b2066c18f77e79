/** Two copies of the library in one process: each recognizes what the other has made. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schedule, Schema, Stream } from "effect"
import * as Library from "effect-eventsourcing"
import * as Memory from "effect-eventsourcing/memory"
import * as OurWorkAborted from "../src/internal/projection/workAborted.ts"
import { silent } from "./projection/support/harness.ts"
import { open, withRecorder } from "./support/memoryLog.ts"
import { loadCopy } from "./support/secondCopy.ts"

const copy = await loadCopy()
const ours = { library: Library, memory: Memory, workAborted: OurWorkAborted }

/** Which copy provides what: declared with the first, defined with the second. */
const pairs = [
  ["the other copy", "this one", copy, ours],
  ["this one", "the other copy", ours, copy]
] as const

it("there are two copies", () => {
  assert.notStrictEqual(copy.library.Evolution.version, Library.Evolution.version)
  assert.notStrictEqual(copy.library.EventSourcingError.RecorderFailure, Library.EventSourcingError.RecorderFailure)
})

const makeCup = (declaring: typeof Library, defining: typeof Library) =>
  defining.Aggregate.make("Cup", {
    state: declaring.Evolution.version(1, { coins: Schema.Int }),
    creation: {
      Placed: declaring.DomainEvent.make({
        type: "Cup.Put",
        aliases: ["Cup.Set"],
        schema: declaring.Evolution.version(1, { count: Schema.Int }).version(
          2,
          { coins: Schema.Int },
          ({ count }) => ({
            coins: count
          })
        )
      })
    },
    events: {
      Filled: declaring.Evolution.version(1, { coins: Schema.Int })
    },
    reduce: {
      Placed: ({ coins }) => ({ coins }),
      Filled: (cup, { coins }) => ({ coins: cup.coins + coins })
    }
  })

describe.each(pairs)("events declared with %s, an aggregate defined with %s", (_from, _to, from, to) => {
  it.effect("are recorded, upcast and read", () =>
    Effect.gen(function* () {
      const log = yield* Layer.build(Layer.fresh(Memory.layerRecorders))
      const { repository } = yield* open(log)
      const Old = Library.Aggregate.make("Cup", {
        state: { count: Schema.Int },
        creation: { Placed: Library.DomainEvent.make({ type: "Cup.Set", schema: { count: Schema.Int } }) },
        events: {},
        reduce: { Placed: ({ count }) => ({ count }) }
      })
      yield* repository.of(Old).execute(Old.id("a"), Old.Placed({ count: 3 }))
      const Cup = makeCup(from.library, to.library)
      const cups = repository.of(Cup)
      yield* cups.execute(Cup.id("a"), Cup.Filled({ coins: 1 }))
      assert.deepStrictEqual((yield* cups.snapshot(Cup.id("a"))).state, { coins: 4 })
      yield* cups.execute(Cup.id("b"), Cup.Placed({ coins: 1 }))
      const recorded = yield* Context.get(log, Library.Recorder.Recorder).readAll({ limit: 9 })
      assert.deepStrictEqual(
        recorded.map(({ type, schemaVersion }) => `${type} ${schemaVersion}`),
        ["Cup.Set 1", "Cup.Filled 1", "Cup.Put 2"]
      )
    })
  )
})

describe.each(pairs)("an aggregate and a log of %s, repositories of %s", (_from, _to, from, to) => {
  const Cup = makeCup(from.library, from.library)
  const id = Cup.id("a")

  const repositoryOn = Effect.fnUntraced(function* (log: Context.Context<Memory.Services>) {
    const built = yield* Effect.provideContext(Layer.build(Layer.fresh(to.library.EventSourcing.layer())), log)
    return Context.get(built, to.library.Repository.Repository)
  })

  it.effect("G2 a command that lost a race is retried", () =>
    Effect.gen(function* () {
      const log = yield* Layer.build(Layer.fresh(from.memory.layerRecorders))
      const [here, there] = [yield* repositoryOn(log), yield* repositoryOn(log)]
      yield* here.of(Cup).execute(id, Cup.Placed({ coins: 0 }))
      const seen: Array<number> = []
      const done = yield* here.of(Cup).execute(
        id,
        Cup.decide(({ coins }) => {
          seen.push(coins)
          const overtake = Effect.orDie(there.of(Cup).execute(id, Cup.Filled({ coins: 5 })))
          return Effect.as(seen.length === 1 ? overtake : Effect.void, Cup.Filled({ coins: 1 }))
        })
      )
      assert.deepStrictEqual(seen, [0, 5])
      assert.deepStrictEqual(done.state, { coins: 6 })
    })
  )

  it.effect("a recorder's error ends a subscription unchanged", () =>
    Effect.gen(function* () {
      const log = yield* Layer.build(Layer.fresh(from.memory.layerRecorders))
      const failure = new from.library.EventSourcingError.RecorderFailure({ operation: "follow", reason: "gone" })
      const failing = withRecorder(log, () => ({ follow: () => Stream.fail(failure) }))
      const built = yield* Effect.provideContext(Layer.build(Layer.fresh(to.library.EventSourcing.layer())), failing)
      const subscription = Context.get(built, to.library.Subscription.Subscription)
      const error = yield* Effect.flip(Stream.runDrain(subscription.follow({ aggregates: [Cup] }, { from: "start" })))
      assert.strictEqual(error, failure)
    })
  )
})

describe.each(pairs)("views of %s, a runner of %s", (_from, _to, from, to) => {
  it.live("G12 a transaction that the handler's SQL aborted is the handler's failure", () =>
    Effect.gen(function* () {
      const Cup = makeCup(to.library, to.library)
      const { MemoryViewStore } = from.library.ViewStore
      const aborted = new from.workAborted.WorkAborted()
      const views = Layer.effect(
        MemoryViewStore,
        // as PostgreSQL does
        Effect.map(MemoryViewStore, (store) => ({
          ...store,
          transact: () => Effect.fail(aborted) as Effect.Effect<never>
        }))
      ).pipe(Layer.provide(from.memory.MemoryViews()))
      const projection = to.library.Projection.make("cups", {
        aggregates: [Cup],
        view: to.library.Projection.memory(() => 0),
        handlers: {
          Cup: { Placed: (_event, view) => view.update((cups) => cups + 1), Filled: to.library.Projection.ignore }
        }
      })
      const program = Effect.gen(function* () {
        const cups = yield* to.library.Repository.of(Cup)
        yield* cups.execute(Cup.id("a"), Cup.Placed({ coins: 0 }))
        const runner = yield* to.library.ProjectionRunner.make(projection, { retry: Schedule.recurs(2) })
        return yield* Effect.flip(runner.join)
      })
      const error = yield* Effect.provide(program, Layer.mergeAll(to.memory.MemoryLayer(), views, silent))
      assert.strictEqual(error._tag, "ProjectionFailed")
      assert.deepInclude(error, { attempts: 3, cause: aborted })
    })
  )
})

describe("an error", () => {
  const { EventSourcingError: here } = Library
  const { EventSourcingError: there } = copy.library
  const unavailable = { operation: "append", reason: "not now" }

  it("is recognised, whichever copy it comes from", () => {
    for (const { RecorderFailure, RecorderUnavailable, WrongExpectedVersion } of [here, there]) {
      assert.isTrue(here.isRecorderUnavailable(new RecorderUnavailable(unavailable)))
      assert.isTrue(here.isRecorderFailure(new RecorderFailure(unavailable)))
      assert.isTrue(here.isRecorderError(new RecorderFailure(unavailable)))
      assert.isFalse(here.isRecorderError(new WrongExpectedVersion({ stream: "A-1", expected: 1, actual: 2 })))
      assert.isTrue(here.isWrongExpectedVersion(new WrongExpectedVersion({ stream: "A-1", expected: 1, actual: 2 })))
    }
  })

  it("of a domain is not one of the library's, even if it has the same name", () => {
    class RecorderFailure extends Schema.TaggedError<RecorderFailure>()("RecorderFailure", {}) {}
    assert.isFalse(here.isRecorderFailure(new RecorderFailure()))
    for (const value of [undefined, null, "RecorderFailure", { _tag: "RecorderFailure" }]) {
      assert.isFalse(here.isRecorderError(value))
    }
  })
})
