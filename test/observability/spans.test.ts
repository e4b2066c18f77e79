/** Which spans operations leave, what they contain, and that none are created if nothing traces. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import { EventStore, Repository } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { addTrick, Counter, Dog } from "../support/dog.ts"
import { attributesOf, recordingTracer, request, traceParentOf } from "./support/spans.ts"

const fido = Dog.id("Fido")
const stream = Dog.stream(fido)
const register = Dog.Registered({ name: "Fido" })

const traced = <A, E, R>(test: (spans: ReturnType<typeof recordingTracer>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const spans = recordingTracer()
    return test(spans).pipe(Effect.withTracer(spans.tracer), Effect.provide(MemoryLayer()))
  })

/** Registers a dog without leaving a span. */
const registered = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  yield* dogs.execute(fido, register).pipe(Effect.withTracerEnabled(false))
  return dogs
})

describe("a command", () => {
  it.effect("loads and appends", () =>
    traced(({ named, paths }) =>
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* request(dogs.execute(fido, [register, Dog.TrickAdded({ trick: "sit" })]))
        assert.deepStrictEqual(paths(), [
          "request",
          "request > Repository.execute",
          "request > Repository.execute > Repository.load",
          "request > Repository.execute > EventStore.append"
        ])
        assert.deepStrictEqual(attributesOf(named("Repository.execute")[0]), { stream })
        assert.deepStrictEqual(attributesOf(named("Repository.load")[0]), { stream, cached: false })
        assert.deepStrictEqual(attributesOf(named("EventStore.append")[0]), { stream, events: 2 })
      })
    )
  )

  it.effect("on a cached aggregate only appends", () =>
    traced(({ paths }) =>
      Effect.gen(function* () {
        const dogs = yield* registered
        yield* dogs.execute(fido, addTrick("sit"))
        assert.deepStrictEqual(paths(), ["Repository.execute", "Repository.execute > EventStore.append"])
      })
    )
  )

  it.effect("that is refused loads the current events, and is refused on those", () =>
    traced(({ named, paths }) =>
      Effect.gen(function* () {
        const dogs = yield* registered
        yield* Effect.flip(dogs.execute(fido, register))
        assert.deepStrictEqual(paths(), ["Repository.execute", "Repository.execute > Repository.load"])
        assert.deepStrictEqual(attributesOf(named("Repository.load")[0]), { stream, cached: true })
        const [{ status } = {}] = named("Repository.execute")
        assert.isTrue(status?._tag === "Ended" && Exit.isFailure(status.exit))
      })
    )
  )

  it.effect("shows each of its attempts after a conflict, the refused append as failed", () =>
    traced(({ named, paths }) =>
      Effect.gen(function* () {
        const dogs = yield* registered
        const store = yield* EventStore.EventStore
        yield* store.append(Dog, fido, { expected: 0, events: [Dog.Rested()] }).pipe(Effect.withTracerEnabled(false))
        yield* dogs.execute(fido, addTrick("sit"))
        assert.deepStrictEqual(paths(), [
          "Repository.execute",
          "Repository.execute > EventStore.append",
          "Repository.execute > Repository.load",
          "Repository.execute > EventStore.append"
        ])
        const outcomes = named("EventStore.append").map(
          ({ status }) => status._tag === "Ended" && Exit.isSuccess(status.exit)
        )
        assert.deepStrictEqual(outcomes, [false, true])
      })
    )
  )

  it.effect("is named by its events as the span that recorded them", () =>
    traced(({ named }) =>
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* request(dogs.execute(fido, register))
        const [recorded] = yield* Stream.runCollect(dogs.history(fido))
        const [executed] = named("Repository.execute")
        assert.isDefined(executed)
        assert.strictEqual(recorded?.metadata.traceParent, traceParentOf(executed as never))
      })
    )
  )
})

describe("other operations", () => {
  it.effect("get loads, unless it uses the cache", () =>
    traced(({ named, paths }) =>
      Effect.gen(function* () {
        const dogs = yield* registered
        yield* dogs.get(fido)
        yield* dogs.get(fido, { allowStale: true })
        yield* dogs.execute(fido, Dog.Rested()).pipe(Effect.withTracerEnabled(false))
        yield* dogs.get(fido, { version: 0 })
        assert.deepStrictEqual(paths(), [
          "Repository.get",
          "Repository.get > Repository.load",
          "Repository.get",
          "Repository.get",
          "Repository.get > Repository.load"
        ])
        assert.deepStrictEqual(attributesOf(named("Repository.get")[0]), { stream })
        assert.deepStrictEqual(named("Repository.load").map(attributesOf), [
          { stream, cached: true },
          { stream, version: 0 }
        ])
      })
    )
  )

  it.effect("a transaction loads each participant, and appends once", () =>
    traced(({ named, paths }) =>
      Effect.gen(function* () {
        const one = Counter.id("one")
        yield* Repository.transaction(
          { dog: Repository.missing(Dog, fido), counter: Repository.missing(Counter, one) },
          () => ({ dog: register, counter: Counter.Started() })
        )
        assert.deepStrictEqual(paths(), [
          "Repository.transaction",
          "Repository.transaction > Repository.load",
          "Repository.transaction > Repository.load",
          "Repository.transaction > EventStore.append"
        ])
        const streams = [stream, Counter.stream(one)]
        assert.deepStrictEqual(attributesOf(named("Repository.transaction")[0]), { streams })
        assert.deepStrictEqual(attributesOf(named("EventStore.append")[0]), { streams, events: 2 })
      })
    )
  )

  it.effect("an append on its own", () =>
    traced(({ named, paths }) =>
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        yield* store.append(Dog, fido, { expected: "Any", events: [register] })
        assert.deepStrictEqual(paths(), ["EventStore.append"])
        assert.deepStrictEqual(attributesOf(named("EventStore.append")[0]), { stream, events: 1 })
      })
    )
  )
})

describe("without a tracer", () => {
  /** A decision that reports the span in which it is taken. */
  const tell = Dog.decide(() =>
    Effect.matchEffect(Effect.currentParentSpan, {
      onSuccess: (span) => Effect.fail(span._tag === "Span" ? span.name : "one of another process"),
      onFailure: () => Effect.succeed(Dog.Rested())
    })
  )

  it.effect("no span is started if there is no tracer and no span", () =>
    Effect.gen(function* () {
      const dogs = yield* registered
      const { events } = yield* dogs.execute(fido, tell)
      assert.deepStrictEqual(
        events.map(({ metadata }) => metadata.traceParent),
        [undefined]
      )
    }).pipe(Effect.provide(MemoryLayer()))
  )

  it.effect("no span is started if tracing is off", () =>
    traced(({ all }) =>
      Effect.gen(function* () {
        const dogs = yield* registered
        yield* dogs.execute(fido, tell)
        yield* dogs.get(fido)
        assert.lengthOf(all, 0)
      }).pipe(Effect.withTracerEnabled(false))
    )
  )

  it.effect("a span around a command is enough for the native tracer", () =>
    Effect.gen(function* () {
      const dogs = yield* registered
      const name = yield* Effect.flip(request(dogs.execute(fido, tell)))
      assert.strictEqual(name, "effect-eventsourcing/Repository.execute")
    }).pipe(Effect.provide(MemoryLayer()))
  )
})
