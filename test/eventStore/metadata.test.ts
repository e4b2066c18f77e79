import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Effect, Stream, Tracer } from "effect"
import { TestClock } from "effect/testing"
import type { RecordedEvent } from "effect-eventsourcing"
import { Metadata, Recorder, Repository } from "effect-eventsourcing"
import { addTrick, Dog } from "../support/dog.ts"
import { makeLog, open } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")
const registered = Dog.Registered({ name: "Rex" })

describe("an event's own time", () => {
  const at = (iso: string) => Effect.provideService(Metadata.RecordedAt, DateTime.makeUnsafe(iso))

  it.effect("is recorded in place of the clock's, for imports, and is the aggregate's time", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const dogs = repository.of(Dog)
      yield* TestClock.setTime(1_000_000_000_000)
      yield* dogs.execute(rex, registered).pipe(at("1969-07-20T20:17:40.5Z"))
      yield* dogs.execute(rex, addTrick("sit")).pipe(at("1999-12-31T23:59:59Z"))
      const { modifiedAt } = yield* dogs.execute(rex, Dog.Rested())
      assert.strictEqual(DateTime.toEpochMillis(modifiedAt), 1_000_000_000_000)

      const history = yield* Stream.runCollect(dogs.history(rex))
      assert.deepStrictEqual(
        history.map(({ recordedAt }) => DateTime.formatIso(recordedAt)),
        ["1969-07-20T20:17:40.500Z", "1999-12-31T23:59:59.000Z", "2001-09-09T01:46:40.000Z"]
      )
      const { createdAt } = yield* dogs.get(rex, { version: 1 })
      assert.strictEqual(DateTime.formatIso(createdAt), "1969-07-20T20:17:40.500Z")
    })
  )
})

describe("metadata", () => {
  it.effect("is set for a scope, and is on every event that is recorded in it", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { repository, store } = yield* open(log)
      const dogs = repository.of(Dog)
      const max = Dog.Id.make("max")
      const work = Effect.gen(function* () {
        yield* store.append(Dog, rex, { expected: "NoStream", events: [registered, Dog.Rested()] })
        yield* dogs.execute(rex, addTrick("sit"))
        yield* repository
          .transaction({ rex: Repository.existing(Dog, rex), max: Repository.missing(Dog, max) }, () => ({
            rex: Dog.Rested(),
            max: registered
          }))
          .pipe(Effect.provideContext(log))
      }).pipe(
        Effect.provideService(Metadata.CorrelationId, "request-7"),
        Effect.provideService(Metadata.CausationId, "command-9"),
        Effect.provideService(Metadata.Attributes, { user: "ada", tenant: "école" })
      )
      yield* work
      yield* dogs.execute(rex, Dog.Rested())

      const recorded = yield* Stream.runCollect(store.readAll([Dog]))
      assert.strictEqual(recorded.length, 6)
      for (const { metadata } of recorded.slice(0, 5)) {
        assert.deepStrictEqual(metadata, {
          correlationId: "request-7",
          causationId: "command-9",
          traceParent: undefined,
          attributes: { user: "ada", tenant: "école" }
        })
      }
      assert.deepStrictEqual(recorded[5]?.metadata, Metadata.empty)
    })
  )

  it.effect("is stored as a flat JSON object of strings, an empty one if nothing is set", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { store } = yield* open(log)
      yield* store.append(Dog, rex, { expected: "NoStream", events: [registered] })
      yield* store
        .append(Dog, rex, { expected: 0, events: [Dog.Rested()] })
        .pipe(
          Effect.provideService(Metadata.CorrelationId, "request-7"),
          Effect.provideService(Metadata.Attributes, { user: "ada" })
        )
      const stored = yield* Context.get(log, Recorder.Recorder).readAll({ limit: 2 })
      assert.deepStrictEqual(
        stored.map(({ metadata }) => JSON.parse(metadata)),
        [{}, { $correlationId: "request-7", user: "ada" }]
      )
    })
  )

  it.effect("can make an event the cause of those that follow it", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      const dogs = repository.of(Dog)
      const { events } = yield* dogs.execute(rex, registered)
      const cause = events[0]?.id
      yield* dogs.execute(rex, Dog.Rested()).pipe(Effect.provideService(Metadata.CausationId, cause))
      const [first, second] = yield* Stream.runCollect(store.read(Dog, rex))
      assert.strictEqual(second?.metadata.causationId, first?.id)
    })
  )
})

describe("the trace context", () => {
  const traceOf = (event: RecordedEvent.RecordedEvent<"Dog", unknown> | undefined) =>
    event?.metadata.traceParent?.split("-")

  it.effect("is that of the current span, in the W3C's form, both returned and read", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      const dogs = repository.of(Dog)
      const [span, executed] = yield* Effect.all([
        Effect.currentSpan,
        dogs.execute(rex, registered),
        store.append(Dog, rex, { expected: 0, events: [Dog.Rested()] })
      ]).pipe(Effect.withSpan("request"), Effect.orDie)
      const read = yield* Stream.runCollect(store.read(Dog, rex))
      assert.strictEqual(read.length, 2)
      for (const event of [...executed.events, ...read]) {
        assert.match(event.metadata.traceParent ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
        assert.strictEqual(traceOf(event)?.[1], span.traceId)
      }
    })
  )

  it.effect("continues from a caller in another process, sampled or not", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
      const caller = Tracer.externalSpan({ traceId, spanId: "00f067aa0ba902b7", sampled: false })
      yield* repository.of(Dog).execute(rex, registered).pipe(Effect.withParentSpan(caller))
      const [event] = yield* Stream.runCollect(store.read(Dog, rex))
      assert.deepStrictEqual([traceOf(event)?.[0], traceOf(event)?.[1], traceOf(event)?.[3]], ["00", traceId, "00"])
    })
  )

  it.effect("is absent if there is no span", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      yield* repository.of(Dog).execute(rex, registered)
      const [event] = yield* Stream.runCollect(store.read(Dog, rex))
      assert.strictEqual(event?.metadata.traceParent, undefined)
    })
  )

  it.effect("is that of the span in which events are prepared, not of the one in which they are committed", () =>
    Effect.gen(function* () {
      const { store } = yield* open(yield* makeLog)
      const preparing = Effect.all([
        Effect.orDie(Effect.currentSpan),
        store.prepare(Dog, rex, "NoStream", [registered])
      ])
      const [span, prepared] = yield* Effect.withSpan(preparing, "prepare")
      yield* Effect.withSpan(store.commit(prepared), "commit")
      const [event] = yield* Stream.runCollect(store.read(Dog, rex))
      assert.deepStrictEqual(traceOf(event), ["00", span.traceId, span.spanId, "01"])
    })
  )
})
