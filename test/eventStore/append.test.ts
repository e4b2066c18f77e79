import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventSourcingError, Metadata, MultiStreamAppend, StreamCatalog } from "effect-eventsourcing"
import { Dog } from "../support/dog.ts"
import type { Process } from "../support/memoryLog.ts"
import { counting, losingAnswers, makeLog, open, withRecorder, yielding } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")
const registered = Dog.Registered({ name: "Rex" })
const trick = (name: string) => Dog.TrickAdded({ trick: name })

const eventsOf = ({ store }: Process, id = rex) =>
  Effect.map(Stream.runCollect(store.read(Dog, id)), (events) => events.map(({ event }) => event))

const idsOf = ({ store }: Process) =>
  Effect.map(Stream.runCollect(store.readAll([Dog])), (events) => events.map(({ id }) => id))

describe("EventStore.append", () => {
  it.effect("appends to a new stream, and after an exact version", () =>
    Effect.gen(function* () {
      const process = yield* open(yield* makeLog)
      const first = yield* process.store.append(Dog, rex, { expected: "NoStream", events: [registered, trick("sit")] })
      assert.strictEqual(first?.version, 1)
      const second = yield* process.store.append(Dog, rex, { expected: 1, events: [trick("roll")] })
      assert.strictEqual(second?.version, 2)
      assert.isAbove(Number((second?.position ?? 0n) - (first?.position ?? 0n)), 0)
      assert.strictEqual(yield* process.store.version(Dog.stream(rex)), 2)
      assert.strictEqual(yield* process.store.head, second?.position)
      assert.deepStrictEqual(yield* eventsOf(process), [
        { name: "Rex", _tag: "Registered" },
        { trick: "sit", _tag: "TrickAdded" },
        { trick: "roll", _tag: "TrickAdded" }
      ])
    })
  )

  it.effect("returns what every later reader gets", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_700_000_000_000)
      const { store } = yield* open(yield* makeLog)
      const answer = yield* store.append(Dog, rex, { expected: "NoStream", events: [registered, trick("sit")] })
      const read = yield* Stream.runCollect(store.read(Dog, rex))
      assert.deepStrictEqual(
        read.map(({ position, ...event }) => event),
        answer?.events as never
      )
      assert.deepStrictEqual(
        read.map(({ aggregateId, recordedAt, stream, version }) => [
          stream,
          aggregateId,
          version,
          recordedAt.epochMilliseconds
        ]),
        [0, 1].map((version) => ["Dog-rex", "rex", version, 1_700_000_000_000])
      )
      assert.strictEqual(new Set(read.map(({ id }) => id)).size, 2)
    })
  )

  it.effect("omits fields that the schema does not declare, in its result too", () =>
    Effect.gen(function* () {
      const process = yield* open(yield* makeLog)
      const event = { ...registered, collar: "red" }
      const answer = yield* process.store.append(Dog, rex, { expected: "NoStream", events: [event] })
      assert.deepStrictEqual(answer?.events[0]?.event, { name: "Rex", _tag: "Registered" })
      assert.deepStrictEqual(yield* eventsOf(process), [{ name: "Rex", _tag: "Registered" }])
    })
  )

  it.effect("G2 is refused at any other version, with the expected and the actual one, and records nothing", () =>
    Effect.gen(function* () {
      const process = yield* open(yield* makeLog)
      const append = (expected: number | "NoStream") =>
        process.store.append(Dog, rex, { expected, events: [expected === "NoStream" ? registered : trick("sit")] })
      const early = yield* Effect.flip(append(0))
      assert.deepInclude(early, { _tag: "WrongExpectedVersion", stream: "Dog-rex", expected: 0, actual: "NoStream" })
      yield* process.store.append(Dog, rex, { expected: "NoStream", events: [registered, trick("roll")] })
      for (const expected of ["NoStream", 0, 2] as const) {
        assert.deepInclude(yield* Effect.flip(append(expected)), { expected, actual: 1 })
      }
      assert.strictEqual((yield* eventsOf(process)).length, 2)
    })
  )

  it.effect("does nothing without events, whatever is expected", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const { store } = yield* open(log)
      for (const expected of ["NoStream", 7, "Any"] as const) {
        assert.strictEqual(yield* store.append(Dog, rex, { expected, events: [] }), undefined)
      }
      assert.deepStrictEqual(calls, { append: 0, readStream: 0 })
    })
  )

  it.effect('appends after whatever is there with "Any", also when many do so concurrently', () =>
    Effect.gen(function* () {
      const log = yielding(yield* makeLog)
      const processes = yield* Effect.all([open(log), open(log)])
      yield* processes[0].store.append(Dog, rex, { expected: "Any", events: [registered] })
      const writers = processes.flatMap(({ store }, p) =>
        Array.from({ length: 20 }, (_, i) =>
          store.append(Dog, rex, { expected: "Any", events: [trick(`${p}.${i}`), trick(`${p}.${i}!`)] })
        )
      )
      const answers = yield* Effect.all(writers, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        answers.map((answer) => answer?.version ?? -1).sort((a, b) => a - b),
        Array.from({ length: 40 }, (_, i) => 2 * i + 2)
      )
      const ids = yield* idsOf(processes[0])
      assert.strictEqual(new Set(ids).size, 81)
      assert.deepStrictEqual(ids.length, 81)
    })
  )
})

it.effect('G7 "Any" sends the same ids again after a conflict, in case one was recorded after all', () =>
  Effect.gen(function* () {
    const base = yield* makeLog
    const other = yield* open(base)
    yield* other.store.append(Dog, rex, { expected: "NoStream", events: [registered] })
    const sent: Array<ReadonlyArray<string>> = []
    const log = withRecorder(base, ({ append }) => ({
      append: (one) =>
        Effect.gen(function* () {
          sent.push(one.events.map(({ id }) => id))
          if (sent.length < 3)
            yield* Effect.orDie(other.store.append(Dog, rex, { expected: "Any", events: [trick("roll")] }))
          return yield* append(one)
        })
    }))
    const { store } = yield* open(log)
    const answer = yield* store.append(Dog, rex, { expected: "Any", events: [trick("sit"), trick("beg")] })
    assert.strictEqual(answer?.version, 4)
    assert.strictEqual(sent.length, 3)
    const ids = answer?.events.map(({ id }) => id) ?? []
    assert.deepStrictEqual(sent, [ids, ids, ids])
  })
)

describe("EventNotEncodable", () => {
  const failing = Effect.fnUntraced(function* (events: ReadonlyArray<unknown>) {
    const { calls, log } = counting(yield* makeLog)
    const { store } = yield* open(log)
    const error = yield* Effect.flip(store.append(Dog, rex, { expected: "NoStream", events: events as never }))
    assert.strictEqual(calls.append, 0)
    return error
  })

  it.effect("names the event that does not fit its schema, at the version it would have had", () =>
    Effect.gen(function* () {
      const error = yield* failing([registered, trick("sit"), trick("")])
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Dog-rex", version: 2, type: "Dog.TrickAdded" })
    })
  )

  it.effect.each([
    [{ _tag: "Barked" }, '"Barked" is not an event of Dog; its events are Registered, TrickAdded, Rested'],
    [{ _tag: "__proto__" }, '"__proto__" is not an event of Dog; its events are'],
    [
      { trick: "sit" },
      "an object without a _tag is not an event of Dog; create events with its constructors, such as Dog.Registered(...)"
    ],
    [new Set([trick("sit")]), "an object without a _tag is not an event of Dog; create events with its constructors"],
    [Promise.resolve(trick("sit")), "a promise is not an event of Dog; a decision that has to wait returns an Effect"],
    [null, "null is not an event of Dog; a decision without events returns undefined or []"],
    [undefined, "a value of type undefined is not an event of Dog; create events with its constructors"],
    ["Registered", "a value of type string is not an event of Dog; create events with its constructors"],
    [Dog.Registered, "a value of type function is not an event of Dog; create events with its constructors"]
  ] as const)("names what is not an event of the aggregate, and what would be one: %o", ([event, message]) =>
    Effect.gen(function* () {
      const error = yield* failing([registered, event])
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Dog-rex", version: 1 })
      assert.include(error.message, "is not an event of Dog")
      assert.include(error.message, message)
    })
  )

  it.effect("refuses an event that can't follow the others: the aggregate could not be read again", () =>
    Effect.gen(function* () {
      const { store, repository } = yield* open(yield* makeLog)
      yield* store.append(Dog, rex, { expected: "Any", events: [registered] })
      const max = Dog.Id.make("max")
      for (const [id, expected, events, version, message] of [
        [rex, "Any", [registered], 1, "it creates the aggregate, which already exists"],
        [rex, 0, [trick("sit"), registered], 2, "it creates the aggregate, which already exists"],
        [max, "NoStream", [registered, registered], 1, "it creates the aggregate, which already exists"],
        [max, "NoStream", [trick("sit")], 0, "it changes the aggregate, which does not exist yet"],
        [max, "Any", [trick("sit")], 0, "it changes the aggregate, which does not exist yet"]
      ] as const) {
        const error = yield* Effect.flip(store.append(Dog, id, { expected, events }))
        assert.deepInclude(error, { _tag: "EventNotEncodable", version })
        assert.include(error.message, message)
      }
      assert.deepInclude(yield* repository.of(Dog).get(rex), { version: 0 })
      assert.isFalse(yield* repository.of(Dog).exists(max))
    })
  )

  it.effect.each(["0", null, { version: 0 }])("refuses %j as an expected version", (expected) =>
    Effect.gen(function* () {
      const { store } = yield* open(yield* makeLog)
      yield* store.append(Dog, rex, { expected: "NoStream", events: [registered] })
      // @ts-expect-error no version
      const error = yield* Effect.flip(store.append(Dog, rex, { expected, events: [trick("sit")] }))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.include(error.message, `got ${JSON.stringify(expected)}`)
    })
  )

  it.effect.each([{ $user: "ada" }, { age: 7 }])("names the invalid metadata attribute: %j", (attributes) =>
    Effect.gen(function* () {
      const error = yield* Effect.provideService(
        failing([registered]),
        Metadata.Attributes,
        attributes as unknown as Record<string, string>
      )
      assert.deepInclude(error, { _tag: "EventNotEncodable", version: 0, type: "Dog.Registered" })
      assert.include(error.message, Object.keys(attributes).join())
    })
  )
})

describe("the clock of the writer", () => {
  const at = (millis: number): Clock.Clock => ({
    currentTimeMillisUnsafe: () => millis,
    currentTimeMillis: Effect.succeed(millis),
    currentTimeNanosUnsafe: () => 0n,
    currentTimeNanos: Effect.succeed(0n),
    monotonicTimeNanosUnsafe: () => 0n,
    monotonicTimeNanos: Effect.succeed(0n),
    sleep: () => Effect.void
  })

  it.effect.each([
    [0, 0],
    [-1, -1],
    [-62_135_596_800_000, -62_135_596_800_000],
    [1.5, 1],
    [-0.5, -1],
    [1_764_417_600_000.25, 1_764_417_600_000],
    [8.64e15, 8.64e15]
  ] as const)("may report %d: whole milliseconds and a valid id are recorded", ([now, recordedAt]) =>
    Effect.gen(function* () {
      const { store } = yield* open(yield* makeLog)
      for (const expected of ["NoStream", "Any"] as const) {
        const id = Dog.Id.make(expected)
        const append = store.append(Dog, id, { expected, events: [registered] })
        const answer = yield* Effect.provideService(append, Clock.Clock, at(now))
        assert.strictEqual(answer?.events[0]?.recordedAt.epochMilliseconds, recordedAt)
        assert.match(
          answer?.events[0]?.id ?? "",
          /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
        )
      }
    })
  )

  it.effect.each([[Number.NaN], [Number.POSITIVE_INFINITY], [8.64e15 + 1]] as const)(
    "reports %d, which is not a time",
    ([now]) =>
      Effect.gen(function* () {
        const { store } = yield* open(yield* makeLog)
        const append = store.append(Dog, rex, { expected: "NoStream", events: [registered] })
        const error = yield* Effect.flip(Effect.provideService(append, Clock.Clock, at(now)))
        assert.deepInclude(error, { _tag: "EventNotEncodable", type: "Dog.Registered" })
      })
  )
})

describe("G7 prepared events", () => {
  it.effect("are recorded once, however often they are committed, with the same result", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [here, there] = yield* Effect.all([open(log), open(log)])
      const prepared = yield* here.store.prepare(Dog, rex, "NoStream", [registered, trick("sit")])
      assert.deepStrictEqual(yield* eventsOf(here), [])
      const answer = yield* here.store.commit(prepared)
      assert.deepStrictEqual(yield* here.store.commit(prepared), answer)
      // also after later events, and from another process
      yield* there.store.append(Dog, rex, { expected: "Any", events: [trick("roll")] })
      assert.deepStrictEqual(yield* there.store.commit(prepared), answer)
      assert.strictEqual((yield* eventsOf(here)).length, 3)
      assert.deepStrictEqual(
        (yield* idsOf(here)).slice(0, 2),
        prepared.events.map(({ id }) => id)
      )
    })
  )

  it.effect("are refused if others have their versions", () =>
    Effect.gen(function* () {
      const { store } = yield* open(yield* makeLog)
      const one = yield* store.prepare(Dog, rex, "NoStream", [registered])
      const other = yield* store.prepare(Dog, rex, "NoStream", [registered])
      yield* store.commit(one)
      assert.deepInclude(yield* Effect.flip(store.commit(other)), { expected: "NoStream", actual: 0 })
    })
  )

  it.effect("of several streams are recorded once, or not at all", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { store } = yield* open(log)
      const max = Dog.Id.make("max")
      const first = yield* store.prepare(Dog, rex, "NoStream", [registered, trick("sit")])
      const second = yield* store.prepare(Dog, max, "NoStream", [registered])
      const commit = store.commitAll([first, second]).pipe(Effect.provideContext(log))
      const answer = yield* commit
      assert.deepStrictEqual(answer.versions, [1, 0])
      assert.deepStrictEqual(yield* commit, answer)
      assert.strictEqual((yield* Stream.runCollect(store.readAll([Dog]))).length, 3)

      const late = yield* store.prepare(Dog, Dog.Id.make("ace"), "NoStream", [registered])
      const wrong = yield* store.prepare(Dog, rex, 0, [trick("roll")])
      const failed = yield* Effect.flip(store.commitAll([late, wrong]).pipe(Effect.provideContext(log)))
      assert.deepInclude(failed, { _tag: "WrongExpectedVersion", stream: "Dog-rex", expected: 0, actual: 1 })
      const stale = [{ stream: Dog.stream(max), expected: 7 }]
      const checked = yield* Effect.flip(store.commitAll([late], stale).pipe(Effect.provideContext(log)))
      assert.deepInclude(checked, { _tag: "WrongExpectedVersion", stream: "Dog-max", expected: 7, actual: 0 })
      const streams = yield* Context.get(log, StreamCatalog.StreamCatalog).list({ limit: 10 })
      assert.deepStrictEqual(
        streams.map(({ stream }) => stream),
        ["Dog-max", "Dog-rex"]
      )
    })
  )
})

describe("a lost answer", () => {
  it.effect.each([
    [true, "NoStream"],
    [true, "Any"],
    [false, "NoStream"],
    [false, "Any"]
  ] as const)("makes the append send the same events again: recorded before %s, expected %s", ([recorded, expected]) =>
    Effect.gen(function* () {
      const { calls, log } = losingAnswers(yield* makeLog, { recorded, times: 3 })
      const process = yield* open(log)
      const events = [registered, trick("sit")] as const
      const writing = yield* Effect.forkChild(process.store.append(Dog, rex, { expected, events }))
      yield* TestClock.adjust("1 minute")
      const answer = yield* Fiber.join(writing)
      assert.strictEqual(answer?.version, 1)
      assert.strictEqual(calls.append, 4)
      assert.deepStrictEqual(
        yield* idsOf(process),
        answer?.events.map(({ id }) => id)
      )
    })
  )

  it.effect("is recovered after others recorded events in the meantime", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const other = yield* open(base)
      const log = withRecorder(losingAnswers(base, { times: 1 }).log, ({ append }) => ({
        append: (one) =>
          Effect.tapError(append(one), () =>
            Effect.orDie(other.store.append(Dog, rex, { expected: "Any", events: [trick("roll")] }))
          )
      }))
      const { store } = yield* open(log)
      const answer = yield* store.append(Dog, rex, { expected: "NoStream", events: [registered] })
      assert.strictEqual(answer?.version, 0)
      assert.strictEqual((yield* eventsOf(other)).length, 2)
    })
  )

  it.effect("is given up after about two seconds, and committing again later is safe", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const { calls, log } = losingAnswers(base, { times: 100 })
      const { store } = yield* open(log)
      const prepared = yield* store.prepare(Dog, rex, "NoStream", [registered])
      const committing = yield* Effect.forkChild(store.commit(prepared))
      yield* TestClock.adjust("3 seconds")
      const exit = yield* Fiber.await(committing)
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "the connection was lost")
      assert.strictEqual(calls.append, 6)
      // nothing continues after the call has ended
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(calls.append, 6)
      const process = yield* open(base)
      assert.strictEqual((yield* process.store.commit(prepared)).version, 0)
      assert.strictEqual((yield* idsOf(process)).length, 1)
    })
  )

  it.effect("does not end the wait for a lock, which has its own limit and is not restarted", () =>
    Effect.gen(function* () {
      let appends = 0
      const held = new EventSourcingError.RecorderUnavailable({ operation: "append", reason: "held", waited: 5000 })
      const log = withRecorder(yield* makeLog, () => ({
        append: () =>
          Effect.suspend(() => {
            appends++
            return Effect.fail(held)
          })
      }))
      const { store } = yield* open(log)
      const appending = store.append(Dog, rex, { expected: "NoStream", events: [registered] })
      assert.strictEqual(yield* Effect.flip(appending), held)
      assert.strictEqual(appends, 1)
    })
  )

  it.effect("of an append to several streams is the same", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const multi = Context.get(base, MultiStreamAppend.MultiStreamAppend)
      let lose = 2
      const log = Context.add(base, MultiStreamAppend.MultiStreamAppend, {
        append: (appends, checks) =>
          Effect.tap(multi.append(appends, checks), () =>
            lose-- > 0
              ? Effect.fail(new EventSourcingError.RecorderUnavailable({ operation: "append", reason: "lost" }))
              : Effect.void
          )
      })
      const process = yield* open(log)
      const prepared = yield* process.store.prepare(Dog, rex, "NoStream", [registered])
      const committing = yield* Effect.forkChild(process.store.commitAll([prepared]).pipe(Effect.provideContext(log)))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* Fiber.join(committing)).versions, [0])
      assert.strictEqual((yield* idsOf(process)).length, 1)
    })
  )

  it.effect("is what RecorderUnavailable means: after other failures nothing is sent again", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      for (const error of [
        new EventSourcingError.RecorderFailure({ operation: "append", reason: "the disk is full" }),
        new EventSourcingError.WrongExpectedVersion({ stream: "Dog-rex", expected: 0, actual: 1 })
      ]) {
        const { calls, log } = counting(withRecorder(base, () => ({ append: () => Effect.fail(error) })))
        const { store } = yield* open(log)
        const failed = yield* Effect.flip(store.append(Dog, rex, { expected: 0, events: [trick("sit")] }))
        assert.strictEqual(failed, error)
        assert.strictEqual(calls.append, 1)
      }
    })
  )
})
