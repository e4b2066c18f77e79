/** From a projected event to the trace that recorded it: on every log the span of a batch is linked to it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { EventStore, Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { logs } from "../support/backends.ts"
import { memoryCounts } from "../support/countsView.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import { attributesOf, recordingTracer, request } from "./support/spans.ts"

const fido = Dog.id("Fido")
const counter = Counter.id("one")

const idsOf = (spans: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>) =>
  spans.map(({ traceId, spanId }) => `${traceId}/${spanId}`).sort()

const linksOf = (spans: ReturnType<typeof recordingTracer>) =>
  spans.named("Projection.counts").flatMap(({ links }) => idsOf(links.map(({ span }) => span)))

describe.concurrent.each(Object.entries(logs))("a projection of %s", (_, makeLog) => {
  it.live("is linked to the traces that recorded its events, old and new", () =>
    Effect.gen(function* () {
      const spans = recordingTracer()
      const layer = Layer.merge(yield* makeLog, MemoryViews())
      yield* Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* request(dogs.execute(fido, Dog.Registered({ name: "Fido" })))
        const { position } = yield* request(dogs.execute(fido, addTrick("sit")))
        yield* request(ProjectionRunner.make(memoryCounts))
        yield* untilProcessed(memoryCounts, position)
        assert.deepStrictEqual(linksOf(spans).sort(), idsOf(spans.named("Repository.execute")))

        const live = yield* request(dogs.execute(fido, addTrick("roll over")))
        yield* untilProcessed(memoryCounts, live.position)
        const executed = spans.named("Repository.execute")
        assert.lengthOf(new Set(executed.map(({ traceId }) => traceId)), 3)
        assert.deepStrictEqual(linksOf(spans).sort(), idsOf(executed))
      }).pipe(Effect.scoped, Effect.withTracer(spans.tracer), Effect.provide(layer))
    })
  )
})

describe("a projection's span", () => {
  const traced = <A, E, R>(test: (spans: ReturnType<typeof recordingTracer>) => Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      const spans = recordingTracer()
      return test(spans).pipe(
        Effect.scoped,
        Effect.withTracer(spans.tracer),
        Effect.provide(Layer.merge(MemoryLayer(), MemoryViews()))
      )
    })

  it.live("has the number of its events, and starts a trace of its own, which contains the handlers", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const projection = Projection.make("counts", {
          aggregates: [Counter],
          view: Projection.memory(() => 0),
          handlers: {
            Counter: {
              Started: Projection.ignore,
              Increased: (_event, view) =>
                Effect.andThen(
                  Effect.map(Effect.orDie(Effect.currentSpan), ({ spanId }) => seen.push(spanId)),
                  view.update((n) => n + 1)
                )
            }
          }
        })
        const counters = yield* Repository.of(Counter)
        yield* counters.execute(counter, [
          Counter.Started(),
          Counter.Increased({ to: 1 }),
          Counter.Increased({ to: 2 })
        ])
        const { position } = yield* counters.execute(counter, increase)
        yield* request(ProjectionRunner.make(projection))
        yield* untilProcessed(projection, position)
        const [batch] = spans.named("Projection.counts")
        assert.isDefined(batch)
        assert.isTrue(Option.isNone(batch?.parent ?? Option.none()))
        assert.notInclude(
          spans.all.filter((span) => span !== batch).map(({ traceId }) => traceId),
          batch?.traceId
        )
        assert.deepStrictEqual(attributesOf(batch), { projection: "counts", version: "1", events: 3 })
        assert.deepStrictEqual([...new Set(seen)], [batch?.spanId])
      })
    )
  )

  it.live(
    "has one link for each span that recorded events of it, none for events without a span, and at most 128",
    () =>
      traced((spans) =>
        Effect.gen(function* () {
          const store = yield* EventStore.EventStore
          const counters = yield* Repository.of(Counter)
          yield* counters
            .execute(counter, [Counter.Started(), Counter.Increased({ to: 1 })])
            .pipe(Effect.withTracerEnabled(false))
          const both = [Counter.Increased({ to: 2 }), Counter.Increased({ to: 3 })]
          yield* store.append(Counter, counter, { expected: 1, events: both })
          for (let i = 4; i < 200; i++) yield* counters.execute(counter, increase)
          const last = yield* counters.execute(counter, increase)
          yield* ProjectionRunner.make(memoryCounts)
          yield* untilProcessed(memoryCounts, last.position)
          const [batch] = spans.named("Projection.counts")
          assert.isAbove(Number(attributesOf(batch).events), 198)
          const recorders = [...spans.named("EventStore.append").slice(0, 1), ...spans.named("Repository.execute")]
          assert.deepStrictEqual(linksOf(spans), idsOf(recorders.slice(0, 128)))
        })
      )
  )
})
