/**
 * What the network and the server can do to calls and followers: each call gets a result in time, and is recorded once.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Schedule, Stream } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { Position, StreamName } from "effect-eventsourcing"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { storedEvent, storedEvents } from "effect-eventsourcing/testing/backend"
import { Counter, increase } from "../../support/dog.ts"
import { eventually } from "../../support/eventually.ts"
import { ENDS, timed } from "../../support/timed.ts"
import type { Log } from "../support/logs.ts"
import { idsOf, newAppend, openLog, ownFake, watch } from "../support/logs.ts"
import { isFake, isSince } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)
const id = Counter.Id.make("1")

/** Like the event store: sends the same events again while the server is unavailable. */
const again = (log: Log, append: Recorder.Append) =>
  Effect.retry(log.recorder.append(append), {
    while: ({ _tag }) => _tag === "RecorderUnavailable",
    schedule: Schedule.spaced("20 millis")
  })

const own = (options: Parameters<typeof openLog>[0] = {}) =>
  Effect.gen(function* () {
    const fake = yield* ownFake()
    return { fake, log: yield* openLog({ connectionString: fake.uri, ...options }) }
  })

/** A log with a deadline that a slow machine may miss, and the same with the usual one, for calls that must succeed. */
const impatient = (options: Parameters<typeof openLog>[0]) =>
  Effect.gen(function* () {
    const { fake, log: patient } = yield* own()
    const opening = openLog({ connectionString: fake.uri, prefix: patient.prefix, ...options })
    return { fake, patient, log: yield* Effect.retry(opening, Schedule.spaced("20 millis")) }
  })

const sent = (appends: ReadonlyArray<Recorder.Append>) => appends.flatMap(({ events }) => events.map(({ id }) => id))

describe("connections that are lost", () => {
  onFake(
    "G7 an append whose answer is lost is unavailable at the port; sent again it succeeds, and is there once",
    () =>
      Effect.gen(function* () {
        const { fake, log } = yield* own()
        const appends = [newAppend("Dog-a"), newAppend("Dog-b", 3)]
        for (const append of appends) {
          fake.faults.dropAfterWrite()
          assert.strictEqual((yield* Effect.flip(log.recorder.append(append)))._tag, "RecorderUnavailable")
          const { position, version } = yield* again(log, append)
          assert.strictEqual(version, append.events.length - 1)
          assert.strictEqual(position, yield* log.recorder.head)
        }
        assert.deepStrictEqual(yield* idsOf(log), sent(appends))
      })
  )

  onFake("G7 commands and the event store succeed, even if answers or requests were lost, once or twice", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      const counters = log.repository.of(Counter)
      const losses = [
        () => fake.faults.dropAfterWrite(),
        () => fake.faults.dropAfterWrite(2),
        () => fake.faults.dropBeforeWrite(),
        () => fake.faults.dropBeforeWrite(2)
      ]
      yield* counters.execute(id, Counter.Started())
      for (const [n, lose] of losses.entries()) {
        lose()
        assert.deepInclude(yield* counters.execute(id, increase), { state: n + 1, version: n + 1 })
      }
      assert.lengthOf(yield* idsOf(log), 5)
    })
  )

  onFake("G7 a connection that is lost with 200 running appends loses and duplicates none", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      const seen = yield* watch(log)
      const appends = Array.from({ length: 200 }, (_, n) => newAppend(`Dog-${n}`, 1 + (n % 3)))
      fake.faults.dropAfterWrite(2)
      yield* Effect.forEach(appends, (append) => again(log, append), { concurrency: "unbounded" })
      const ids = yield* idsOf(log)
      assert.sameMembers([...ids], sent(appends))
      yield* seen.until(() => seen.ids.length >= ids.length)
      assert.deepStrictEqual(seen.ids, ids)
    })
  )

  onFake("G2 G7 200 commands on one aggregate count to 200, even if connections are lost in between", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      const counters = log.repository.of(Counter)
      yield* counters.execute(id, Counter.Started())
      const commands = Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) => {
          if (n % 50 === 25) fake.faults.dropAfterWrite()
          return counters.execute(id, increase)
        },
        { concurrency: 8, discard: true }
      )
      yield* commands
      assert.deepInclude(yield* counters.get(id), { state: 200, version: 200 })
    })
  )

  onFake("reads survive lost connections, also if the first of a client was refused", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      yield* log.append("Dog-a", 3)
      for (let n = 0; n < 3; n++) {
        fake.faults.refuseConnections()
        const reading = yield* Effect.forkScoped(log.recorder.readAll({ limit: 10 }), { startImmediately: true })
        yield* Effect.sleep("100 millis")
        yield* Effect.promise(() => fake.faults.acceptConnections())
        const { _tag } = yield* Fiber.await(reading)
        assert.strictEqual(_tag, "Success")
      }
      assert.lengthOf(yield* idsOf(log), 3)
    })
  )

  onFake("a server that is gone is unavailable for appends and reads, in about two seconds, and is found again", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      const append = newAppend("Dog-a")
      yield* log.recorder.append(append)
      fake.faults.refuseConnections()
      for (const call of [
        log.recorder.append(newAppend("Dog-b")),
        log.recorder.readAll({ limit: 1 }),
        log.recorder.head
      ]) {
        const [error, took] = yield* timed(Effect.flip(call as Effect.Effect<unknown, { readonly _tag: string }>))
        assert.strictEqual(error._tag, "RecorderUnavailable")
        assert.isBelow(took, ENDS)
      }
      yield* Effect.promise(() => fake.faults.acceptConnections())
      yield* again(log, newAppend("Dog-c"))
      assert.lengthOf(yield* idsOf(log), 2)
    })
  )
})

describe.concurrent("a server that accepts calls and never answers", () => {
  onFake("ends appends and reads with the deadline, single and concurrent ones, and they succeed later", () =>
    Effect.gen(function* () {
      const { fake, log, patient } = yield* impatient({ deadline: "300 millis" })
      yield* patient.append("Dog-a")
      fake.faults.silence("appends", "reads")
      const calls: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>> = [
        log.recorder.append({ ...newAppend("Dog-a"), expected: 0 }),
        log.recorder.append(newAppend("Dog-b")),
        log.recorder.readAll({ limit: 10 }),
        log.recorder.readStream({ stream: StreamName.StreamName.make("Dog-a"), limit: 10 }),
        log.recorder.head
      ]
      const [errors, took] = yield* timed(Effect.forEach(calls, Effect.flip, { concurrency: "unbounded" }))
      for (const error of errors) {
        assert.strictEqual(error._tag, "RecorderUnavailable")
        assert.include(error.message, "within 300 ms")
      }
      assert.isBelow(took, ENDS)
      fake.faults.answer()
      assert.strictEqual((yield* again(log, newAppend("Dog-c"))).version, 0)
      assert.lengthOf(yield* idsOf(patient), 2)
    })
  )

  onFake("ends every append with the deadline, also those that wait for their turn", () =>
    Effect.gen(function* () {
      const { fake, log, patient } = yield* impatient({ deadline: "500 millis", maxInFlight: 2 })
      yield* patient.append("Dog-a")
      fake.faults.silence("appends")
      const many = Array.from({ length: 40 }, () => ({ ...newAppend("Dog-a"), expected: 0 }))
      const [exits, took] = yield* timed(
        Effect.forEach(many, (append) => Effect.exit(log.recorder.append(append)), { concurrency: "unbounded" })
      )
      assert.isTrue(exits.every(Exit.isFailure))
      assert.isBelow(took, ENDS)
    })
  )

  for (const filter of [undefined, { types: ["Dog.TrickAdded"] }]) {
    onFake(`followers retry after the deadline, report it, and resume on their own: ${JSON.stringify(filter)}`, () =>
      Effect.gen(function* () {
        const { fake, log, patient } = yield* impatient({ deadline: "1200 millis" })
        yield* patient.append("Dog-a")
        fake.faults.silence("subscriptions")
        const seen = yield* watch(log, { filter })
        const retrying = () => seen.states.filter(({ _tag }) => _tag === "Retrying")
        yield* seen.until(() => retrying().length >= 2)
        const told = retrying().map((state) => (state._tag === "Retrying" ? [state.attempts, state.since] : []))
        assert.deepStrictEqual(told.slice(0, 2), [
          [1, told[0]?.[1]],
          [2, told[0]?.[1]]
        ])
        fake.faults.answer()
        yield* seen.until(() => seen.ids.length === 1 && seen.states.at(-1)?._tag === "Live")
      })
    )
  }

  onFake("interruption of an append does not leave half of it, and ends with the deadline", () =>
    Effect.gen(function* () {
      const { fake, log, patient } = yield* impatient({ deadline: "500 millis" })
      const { version } = yield* patient.append("Dog-a")
      assert.strictEqual(version, 0)
      fake.faults.silence("appends")
      const [, took] = yield* timed(
        Effect.timeoutOption(log.recorder.append({ ...newAppend("Dog-a", 5), expected: 0 }), "50 millis")
      )
      assert.isBelow(took, ENDS)
      fake.faults.answer()
      const { length } = yield* idsOf(patient)
      assert.include([1, 6], length)
    })
  )
})

describe("the deadline", () => {
  onFake("is that of the connection string if none is passed separately", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      const connectionString = `${fake.uri}&DefaultDeadline=450`
      const logs = [yield* openLog({ connectionString }), yield* openLog({ connectionString, deadline: "550 millis" })]
      fake.faults.silence("appends", "reads")
      for (const [n, { recorder }] of logs.entries()) {
        const error = yield* Effect.flip(recorder.append({ ...newAppend("Dog-a"), expected: 0 }))
        assert.include(error.message, `within ${n === 0 ? 450 : 550} ms`)
        assert.include((yield* Effect.flip(recorder.head)).message, `within ${n === 0 ? 450 : 550} ms`)
      }
      const refused = yield* Effect.flip(openLog({ connectionString: `${fake.uri}&defaultDeadline=0` }))
      assert.deepInclude(refused, { _tag: "RecorderFailure" })
      assert.include(refused.message, "defaultDeadline")
    })
  )

  onFake("is waited for once by a read from a server that does not respond", () =>
    Effect.gen(function* () {
      const { fake, log, patient } = yield* impatient({ deadline: "400 millis" })
      yield* patient.append("Dog-a")
      fake.faults.silence("reads")
      const before = fake.faults.held
      const stream = StreamName.StreamName.make("Dog-a")
      assert.strictEqual(
        (yield* Effect.flip(log.recorder.readStream({ stream, limit: 1 })))._tag,
        "RecorderUnavailable"
      )
      assert.strictEqual(fake.faults.held - before, 1)
    })
  )

  onFake("does not hold up a caller that no longer waits for an append, which continues after at most one second", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own({ deadline: "10 minutes" })
      fake.faults.silence("appends")
      const append = { ...newAppend("Dog-a"), expected: 0 }
      assert.strictEqual((yield* Effect.timeoutOption(log.recorder.append(append), "50 millis"))._tag, "None")
    })
  )

  onFake("does not run while calls wait for their turn and the server answers others", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own({ deadline: "2 seconds", maxInFlight: 2 })
      fake.faults.delay("appends", 300)
      const appends = Array.from({ length: 20 }, (_, n) => ({ ...newAppend(`Dog-${n}`) }))
      yield* Effect.forEach(appends, log.recorder.append, { concurrency: "unbounded" })
      fake.faults.clear()
      fake.faults.delay("reads", 300)
      const reads = Array.from({ length: 800 }, () => log.recorder.readStream({ stream: appends[0]!.stream, limit: 1 }))
      for (const page of yield* Effect.all(reads, { concurrency: "unbounded" })) assert.lengthOf(page, 1)
    })
  )
})

describe.concurrent("a server that is not the leader", () => {
  onFake("is unavailable, and commands continue when it leads again", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      fake.faults.notLeader("appends", "127.0.0.1", fake.port, 2)
      const append = newAppend("Dog-a")
      const error = yield* Effect.flip(log.recorder.append(append))
      assert.strictEqual(error._tag, "RecorderUnavailable")
      assert.match(error.message, /leader/)
      assert.strictEqual((yield* again(log, append)).version, 0)
      fake.faults.notLeader("appends", "127.0.0.1", fake.port, 1)
      assert.strictEqual((yield* log.repository.of(Counter).execute(id, Counter.Started())).version, 0)
      fake.faults.notLeader("reads", "127.0.0.1", fake.port, 1)
      assert.lengthOf(yield* idsOf(log), 2)
      fake.faults.notLeader("subscriptions", "127.0.0.1", fake.port, 2)
      const seen = yield* watch(log)
      yield* seen.until(() => seen.ids.length === 2)
    })
  )
})

describe("a server that answers only one of identical concurrent appends", () => {
  onFake("G7 is unavailable to the others; sent again they succeed, and one is recorded", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own()
      fake.faults.answerOnce(100)
      const append = newAppend("Dog-a", 2)
      const at = (call: ReturnType<typeof log.recorder.append>) => Effect.exit(call)
      const first = yield* Effect.forEach(Array.from({ length: 5 }), () => at(log.recorder.append(append)), {
        concurrency: "unbounded"
      })
      const failed = first.flatMap((exit) => (Exit.isFailure(exit) ? [exit] : []))
      assert.lengthOf(failed, 4)
      for (const exit of failed) assert.strictEqual((yield* Effect.flip(exit))._tag, "RecorderUnavailable")
      const more = newAppend("Dog-b", 2)
      const answers = yield* Effect.forEach(Array.from({ length: 5 }), () => again(log, more), {
        concurrency: "unbounded"
      })
      assert.lengthOf(new Set(answers.map(({ position }) => position)), 1)
      assert.lengthOf(yield* idsOf(log), 4)
    })
  )
})

describe("a server that starts, is overloaded, or elects a leader", () => {
  for (const why of ["starting", "busy", "electing"] as const) {
    onFake(`G7 is unavailable; commands are sent again with the same ids, and readers continue: ${why}`, () =>
      Effect.gen(function* () {
        const { fake, log } = yield* own()
        const seen = yield* watch(log)
        const append = newAppend("Dog-a", 3)
        fake.faults.notHandled(why, 1, "appends")
        assert.strictEqual((yield* Effect.flip(log.recorder.append(append)))._tag, "RecorderUnavailable")
        fake.faults.notHandled(why, 2, "appends", "reads", "subscriptions")
        const counters = log.repository.of(Counter)
        assert.deepInclude(yield* counters.execute(id, Counter.Started()), { version: 0 })
        // recorded, and the response lost; then not ready when it is sent again
        fake.faults.dropAfterWrite()
        const executing = yield* Effect.forkScoped(counters.execute(id, increase), { startImmediately: true })
        yield* eventually(
          "it was recorded",
          Effect.map(idsOf(log), ({ length }) => length === 2)
        )
        fake.faults.notHandled(why, 2)
        assert.deepInclude(yield* Fiber.join(executing), { state: 1, version: 1 })
        fake.faults.endSubscriptions()
        yield* seen.until(() => seen.ids.length === 2 && seen.states.at(-1)?._tag === "Live")
        assert.lengthOf(yield* idsOf(log), 2)
      })
    )
  }

  onFake("is unavailable to every call of the client", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      const client = yield* Effect.map(
        Layer.build(Layer.fresh(KurrentClient.layer({ connectionString: fake.uri }))),
        Context.get(KurrentClient)
      )
      const event = { type: "Happened", data: {} }
      const calls = {
        append: client.append("Dog-a", [event], { expected: "NoStream" }),
        appendToStreams: client.appendToStreams([{ stream: "Dog-b", expected: "NoStream", events: [event] }]),
        appendRecords: client.appendRecords([{ stream: "Dog-c", ...event }]),
        deleteStream: client.deleteStream("Dog-a"),
        info: client.persistentSubscriptions.info("Dog-a", "group"),
        readStream: Stream.runCollect(client.readStream("Dog-a")),
        readAll: Stream.runCollect(client.readAll())
      }
      for (const why of ["starting", "electing"] as const) {
        fake.faults.notHandled(why)
        const errors = yield* Effect.forEach(
          Object.entries<Effect.Effect<unknown, { readonly _tag: string }>>(calls),
          ([name, call]) => Effect.map(Effect.flip(call), ({ _tag }) => `${name} ${_tag}`),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          errors,
          Object.keys(calls).map((name) => `${name} KurrentUnavailable`),
          why
        )
      }
    })
  )
})

describe("appends", () => {
  it.live("G2 10,000 concurrent ones are all recorded, each once, with bounded memory", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const before = process.memoryUsage().heapUsed
      let peak = 0
      const count = 10_000
      const one = (n: number) =>
        Effect.map(
          log.recorder.append({ ...newAppend(`Dog-${n}`), events: storedEvents(1, { payload: `{"n":${n}}` }) }),
          () => {
            if (n % 100 === 0) peak = Math.max(peak, process.memoryUsage().heapUsed - before)
          }
        )
      yield* Effect.forEach(
        Array.from({ length: count }, (_, n) => n),
        one,
        { concurrency: "unbounded", discard: true }
      )
      const ids = yield* idsOf(log)
      assert.lengthOf(new Set(ids), count)
      assert.lengthOf(ids, count)
      assert.isBelow(peak / 2 ** 20, 400)
    })
  )

  onFake("a full window makes others wait for their turn, and none is lost", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* own({ maxInFlight: 2 })
      fake.faults.delay("appends", 5)
      const appends = Array.from({ length: 30 }, (_, n) => newAppend(`Dog-${n}`))
      yield* Effect.forEach(appends, log.recorder.append, { concurrency: "unbounded" })
      assert.sameMembers([...(yield* idsOf(log))], sent(appends))
    })
  )

  // an append of older servers is 1 MiB at most
  it.live.skipIf(!isSince("25.1.0"))("of 1 MiB are recorded and read back unchanged, as JSON and as bytes", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const payloads = [JSON.stringify("x".repeat(2 ** 20)), new Uint8Array(2 ** 20).fill(7)]
      const events = [
        storedEvent({ payload: payloads[0]! }),
        storedEvent({ payload: payloads[1]!, encoding: "bytes" })
      ] as const
      const seen = yield* watch(log)
      yield* log.recorder.append({ ...newAppend("Dog-a"), events })
      const read = yield* log.recorder.readAll({ limit: 10 })
      assert.isTrue(read[0]?.payload === payloads[0])
      assert.isTrue(Buffer.compare(read[1]?.payload as Uint8Array, payloads[1] as Uint8Array) === 0)
      yield* seen.until(() => seen.ids.length === 2)
    })
  )

  it.live("of 20 MiB fail at once, with advice, and do not affect others", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const large = { ...newAppend("Dog-a"), events: [storedEvent({ payload: new Uint8Array(20 * 2 ** 20) })] as const }
      const others = Array.from({ length: 20 }, (_, n) => newAppend(`Dog-other-${n}`))
      const [exit, ...rest] = yield* Effect.forEach(
        [large, ...others],
        (append) => Effect.exit(log.recorder.append(append)),
        {
          concurrency: "unbounded"
        }
      )
      assert.isTrue(rest.every(Exit.isSuccess))
      const error = yield* Effect.flip(exit!)
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.match(error.message, /more than the server accepts.*MaxAppendEventSize/)
      assert.lengthOf(yield* idsOf(log), 20)
    })
  )

  it.live(
    "G4 streams and types of any name are recorded and read back, separately, in the total order, with filters",
    () =>
      Effect.gen(function* () {
        const log = yield* openLog()
        const names = [
          "a b",
          "a/b",
          "$a",
          "ä漢🐶",
          "a\nb",
          "a\n",
          "\"'`;--",
          "a-b-c",
          "%41",
          "a|b",
          ".*",
          "@",
          "x".repeat(500),
          " ",
          "-",
          "$$",
          "A-1@B-2"
        ]
        const appends = names.map((name) => ({ ...newAppend(`Dog-${name}`), events: storedEvents(1, { type: name }) }))
        const seen = yield* watch(log)
        for (const append of appends) yield* log.recorder.append(append)
        const read = yield* log.recorder.readAll({ limit: 100 })
        assert.deepStrictEqual(
          read.map(({ stream, type }) => `${stream} ${type}`),
          appends.map(({ stream, events }) => `${stream} ${events[0].type}`)
        )
        for (const { events, stream } of appends) {
          const ids = [events[0].id]
          const only = yield* log.recorder.readStream({ stream, limit: 10 })
          assert.deepStrictEqual(
            only.map(({ id }) => id),
            ids
          )
          const typed = yield* log.recorder.readAll({ filter: { types: [events[0].type] }, limit: 10 })
          assert.deepStrictEqual(
            typed.map(({ id }) => id),
            ids,
            events[0].type
          )
        }
        yield* seen.until(() => seen.ids.length === names.length)
      })
  )
})

describe.concurrent("a position that the server refuses", () => {
  it.live("makes reads fail with an error that says so, in time, and no other call", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const { position } = yield* log.append("Dog-a", 2)
      const wrong = Position.Position.make(position - 1n)
      for (const direction of ["forward", "backward"] as const) {
        const [error, took] = yield* timed(Effect.flip(log.recorder.readAll({ after: wrong, direction, limit: 10 })))
        assert.strictEqual(error._tag, "RecorderFailure", direction)
        assert.include(error.message, String(wrong))
        assert.isBelow(took, ENDS)
      }
      assert.lengthOf(yield* idsOf(log), 2)
    })
  )

  for (const filter of [undefined, { types: ["Dog.TrickAdded"] }, { categories: ["Dog"] }]) {
    it.live(`makes followers fail, without endless retries: ${JSON.stringify(filter)}`, () =>
      Effect.gen(function* () {
        const log = yield* openLog()
        const { position } = yield* log.append("Dog-a", 2)
        yield* log.append("Dog-a", 1)
        const seen = yield* watch(log, { after: Position.Position.make(position - 1n), filter })
        const error = yield* Effect.flip(seen.until(() => false))
        assert.deepInclude(error as object, { _tag: "RecorderFailure" })
      })
    )
  }
})

describe.concurrent("followers", () => {
  const count = 300
  for (const filter of [undefined, { categories: ["Dog"] }, { types: ["Dog.TrickAdded"] }]) {
    onFake(
      `G3 continue through everything, without gap or duplicate, and report their states: ${JSON.stringify(filter)}`,
      () =>
        Effect.gen(function* () {
          const { fake, log } = yield* own()
          yield* log.append("Dog-a", count)
          fake.faults.dropSubscriptions(100, 3)
          const seen = yield* watch(log, { filter })
          yield* seen.until(() => seen.ids.length >= count)
          const faults = [
            () => fake.faults.endSubscriptions("shutdown"),
            () => fake.faults.endSubscriptions("slow"),
            () => fake.faults.dropConnections(),
            () => fake.faults.refuse("subscriptions", { code: 14, details: "not now" }, 2),
            () => fake.faults.refuseConnections()
          ]
          let expected = count
          for (const fault of faults) {
            yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
            fault()
            fake.faults.dropConnections()
            yield* Effect.promise(() => fake.faults.acceptConnections())
            yield* Effect.retry(log.append("Dog-a"), Schedule.spaced("20 millis"))
            expected = (yield* idsOf(log)).length
            yield* seen.until(() => seen.ids.length >= expected)
          }
          assert.deepStrictEqual(seen.ids, yield* idsOf(log))
          const retrying = seen.states.filter(({ _tag }) => _tag === "Retrying")
          assert.isAtLeast(retrying.length, faults.length)
          yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
          yield* eventually(
            "one subscription is open",
            Effect.sync(() => fake.subscriptions() === 1)
          )
        })
    )
  }
})
