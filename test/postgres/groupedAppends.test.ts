/** Appends that share a call with others: each has a result of its own, whatever happens to the others. */
import { randomUUID } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Context, Effect, Exit, Fiber, Layer } from "effect"
import type { StoredEvent } from "effect-eventsourcing"
import { MultiStreamAppend, Position, Recorder, StreamName, TrackedAppend } from "effect-eventsourcing"
import { layerRecorders } from "effect-eventsourcing/postgres"
import { storedEvent, storedEvents } from "effect-eventsourcing/testing/backend"
import { random } from "../support/random.ts"
import { connect, newSchema } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { hold, openLog, untilWaiting, watch } from "./support/openLog.ts"

const name = (of: string) => StreamName.StreamName.make(`Dog-${of}`)

type Events = Recorder.Append["events"]

const newAppend = (of: string, count = 1): Recorder.Append => ({
  stream: name(of),
  expected: "NoStream",
  events: storedEvents(count)
})

const atOnce = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.forEach(effects, Effect.exit, { concurrency: "unbounded" })

const failuresOf = (exits: ReadonlyArray<Exit.Exit<unknown, unknown>>) =>
  Effect.forEach(exits.filter(Exit.isFailure), Effect.flip)

/** What is recorded: the ids of each stream's events. */
const recorded = ({ recorder }: Pick<Log, "recorder">) =>
  Effect.map(recorder.readAll({ limit: 20_000 }), (events) => {
    const streams: Record<string, Array<string>> = {}
    for (const { stream, id } of events) streams[stream] = [...(streams[stream] ?? []), id]
    return streams
  })

const idsOf = (appends: ReadonlyArray<Recorder.Append>) =>
  Object.fromEntries(appends.map(({ stream, events }) => [stream, events.map(({ id }) => id)]))

/** A log, and a count of the calls by which it appends. */
const countingLog = (schema: string) =>
  Effect.gen(function* () {
    const sql = yield* connect()
    let calls = 0
    const counting = new Proxy(sql, {
      get: (target, key) =>
        key !== "unsafe"
          ? Reflect.get(target, key)
          : (...[text, parameters]: Parameters<typeof sql.unsafe>) => {
              if (/\.append_events?\(/.test(text)) calls++
              return target.unsafe(text, parameters)
            }
    })
    const services = yield* Layer.build(
      Layer.fresh(Layer.provide(layerRecorders({ schema }), Layer.succeed(PgClient.PgClient, counting)))
    )
    const recorder = Context.get(services, Recorder.Recorder)
    /** How many calls it takes. */
    const callsOf = <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        const before = calls
        return Effect.map(self, (answer) => [calls - before, answer] as const)
      })
    return { recorder, callsOf }
  })

const shuffled = <A>(all: ReadonlyArray<A>, next: () => number): ReadonlyArray<A> =>
  all
    .map((one) => [next(), one] as const)
    .sort(([a], [b]) => a - b)
    .map(([, one]) => one)

describe("the number of calls", () => {
  it.live("one for a single append, a few for many concurrent ones", () =>
    Effect.gen(function* () {
      const { recorder, callsOf } = yield* countingLog(yield* newSchema)
      const appends = (of: string, count: number) =>
        Arr.makeBy(count, (n) => recorder.append(newAppend(`${of}-${n}`, 1 + (n % 2))))
      const [alone] = yield* callsOf(Effect.all(appends("alone", 10)))
      assert.strictEqual(alone, 10)
      for (const [count, most] of [
        [64, 5],
        [500, 8],
        [3000, 20]
      ] as const) {
        const [calls] = yield* callsOf(Effect.all(appends(`${count}`, count), { concurrency: "unbounded" }))
        assert.isAtMost(calls, most, `${count} at once`)
      }
    })
  )

  it.live("a single append that is refused leaves no gap", () =>
    Effect.gen(function* () {
      const { recorder } = yield* countingLog(yield* newSchema)
      const append = newAppend("a")
      assert.strictEqual((yield* recorder.append(append)).position, Position.Position.make(1n))
      assert.strictEqual((yield* Effect.flip(recorder.append(newAppend("a"))))._tag, "WrongExpectedVersion")
      assert.strictEqual(
        (yield* Effect.flip(recorder.append({ ...newAppend("a"), expected: 7 })))._tag,
        "WrongExpectedVersion"
      )
      // when it is sent again, the place where it is recorded is returned
      assert.strictEqual((yield* recorder.append(append)).position, Position.Position.make(1n))
      assert.strictEqual((yield* recorder.append(newAppend("b"))).position, Position.Position.make(2n))
    })
  )

  it.live("appends that arrive during a call share the next one", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const { recorder, callsOf } = yield* countingLog(schema)
      const append = (of: string) => Effect.forkScoped(recorder.append(newAppend(of)), { startImmediately: true })
      const held = yield* hold(log, log.append("Dog-held"))
      const fibers = [yield* append("first")]
      yield* untilWaiting(log, 1)
      fibers.push(yield* append("second"))
      yield* untilWaiting(log, 2)
      const [calls] = yield* callsOf(
        Effect.gen(function* () {
          for (let n = 0; n < 300; n++) fibers.push(yield* append(`behind-${n}`))
          yield* held.commit
          for (const fiber of fibers) yield* Fiber.join(fiber)
        })
      )
      assert.isAtMost(calls, 2)
      assert.lengthOf(yield* recorder.readAll({ limit: 1000 }), 303)
    })
  )

  it.live("a faulty append among many is found in few calls, and costs the others nothing but time", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const { recorder, callsOf } = yield* countingLog(schema)
      const taken = newAppend("taken")
      yield* recorder.append(taken)
      for (const at of [0, 31, 63]) {
        const appends = Arr.makeBy(64, (n) => newAppend(`${at}-${n}`))
        const wrong = { ...newAppend(`${at}-${at}`), events: taken.events }
        const [calls, exits] = yield* callsOf(
          atOnce(appends.map((append, n) => recorder.append(n === at ? wrong : append)))
        )
        // halves of halves of 64
        assert.isAtMost(calls, 20)
        assert.deepStrictEqual(
          exits.flatMap((exit, n) => (Exit.isFailure(exit) ? [n] : [])),
          [at]
        )
      }
      assert.lengthOf(yield* log.recorder.readAll({ limit: 1000 }), 1 + 3 * 63)
    })
  )
})

/** An append of any kind, its expected outcome, and what it then records. */
interface Case {
  readonly what: string
  readonly run: Effect.Effect<{ readonly position: Position.Position | undefined }, unknown>
  /** The tag of its error, and a part of the message. */
  readonly fails?: readonly [tag: string, part: string]
  /** What it records if it succeeds. */
  readonly appends: ReadonlyArray<Recorder.Append>
  /** Of those that share a name, one succeeds. */
  readonly oneOf?: string
}

describe("appends of all kinds at once", () => {
  const refuseBadEvents = (log: Log, schema: string) =>
    log.sql`ALTER TABLE ${log.sql(schema)}.stored_events ADD CONSTRAINT good_dogs CHECK (type <> 'Dog.Bad')`

  const cases = (log: Log, round: number, recordedBefore: Recorder.Append, answer: Recorder.Appended) => {
    const { recorder, services } = log
    const several = Context.get(services, MultiStreamAppend.MultiStreamAppend)
    const tracked = Context.get(services, TrackedAppend.TrackedAppend)
    const all: Array<Case> = []
    const of = (what: string) => `${what}-${round}`
    const add = (what: string, append: Recorder.Append, fails?: Case["fails"]) =>
      all.push({ what, run: recorder.append(append), appends: [append], ...(fails === undefined ? {} : { fails }) })
    const odd = (what: string, fields: Partial<StoredEvent.StoredEvent>): Recorder.Append => ({
      ...newAppend(of(what)),
      events: [storedEvent(), storedEvent(fields), storedEvent()]
    })

    for (let n = 0; n < 24; n++) add("sound", newAppend(of(`sound-${n}`), 1 + (n % 3)))
    for (let n = 0; n < 4; n++) {
      const appends = [newAppend(of(`several-${n}-a`)), newAppend(of(`several-${n}-b`), 2)]
      const check = { stream: recordedBefore.stream, expected: answer.version }
      all.push({ what: "several", run: several.append(appends as never, [check]), appends })
    }
    for (let n = 0; n < 2; n++) {
      const appends = [newAppend(of(`tracked-${n}`), 2)]
      const key = { projection: of(`p${n}`), version: 1, upstream: "u", slice: 0 }
      const to = Position.Position.make(9n)
      all.push({ what: "tracked", run: tracked.append(appends, { key, from: undefined, to }), appends })
      const late = { key: { ...key, projection: "moved" }, from: undefined, to }
      all.push({
        ...{ what: "tracked by another", appends: [], fails: ["TrackingConflict", "is at position 3"] },
        run: tracked.append([newAppend(of(`tracked-late-${n}`))], late)
      })
    }

    all.push({
      ...{ what: "recorded already", appends: [] },
      run: Effect.tap(recorder.append(recordedBefore), (again) =>
        Effect.sync(() => assert.deepStrictEqual(again, answer))
      )
    })
    const { stream } = recordedBefore
    add("a conflict", { ...newAppend("x"), stream }, ["WrongExpectedVersion", `is at version ${answer.version}`])
    add("a version to come", { ...newAppend(of("none")), expected: 3 }, ["WrongExpectedVersion", "but has no events"])
    const half = [newAppend(of("half-a")), { ...newAppend("x"), stream }, newAppend(of("half-b"))] as const
    all.push({
      ...{ what: "a conflict in one of several", appends: [], fails: ["WrongExpectedVersion", stream] },
      run: several.append(half)
    })
    all.push({
      ...{ what: "a check that fails", appends: [], fails: ["WrongExpectedVersion", stream] },
      run: several.append([newAppend(of("checked"))], [{ stream, expected: "NoStream" }])
    })

    add("NUL", odd("nul", { payload: "a\0" }), ["RecorderFailure", "NUL"])
    add("half a pair", odd("pair", { metadata: '{"a":"\ud800"}' }), ["RecorderFailure", "surrogate"])
    add("an id that is none", odd("id", { id: "rex" }), ["RecorderFailure", '"rex"'])
    const elsewhere = recordedBefore.events[0]
    add("an id that is elsewhere", { ...odd("elsewhere", elsewhere) }, ["RecorderFailure", elsewhere.id])
    add("a value that is refused", odd("refused", { type: "Dog.Bad" }), ["RecorderFailure", "good_dogs"])
    all.push({
      ...{ what: "a value that is refused in one of several", appends: [], fails: ["RecorderFailure", "good_dogs"] },
      run: several.append([newAppend(of("refused-a")), odd("refused-b", { type: "Dog.Bad" })])
    })
    const shared = storedEvent()
    for (const n of [1, 2, 3]) {
      const append = { ...newAppend(of(`shared-${n}`)), events: [storedEvent(), shared] as Events }
      all.push({ what: "an id of three", run: recorder.append(append), appends: [append], oneOf: shared.id })
    }
    const racing = [1, 2, 3, 4].map((n) => newAppend(of("racing"), n))
    for (const append of racing) {
      all.push({ what: "a race", run: recorder.append(append), appends: [append], oneOf: `${append.stream}` })
    }
    return all
  }

  it.live("G1 G2 G7 a fault of one of them fails only that one, wherever it is among the others", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* refuseBadEvents(log, schema)
      const seen = yield* watch(log.recorder)
      const before = newAppend("before", 3)
      const answer = yield* log.recorder.append(before)
      yield* Context.get(log.services, TrackedAppend.TrackedAppend).append([], {
        key: { projection: "moved", version: 1, upstream: "u", slice: 0 },
        from: undefined,
        to: Position.Position.make(3n)
      })
      const expected: Record<string, ReadonlyArray<string>> = idsOf([before])
      for (let round = 0; round < 12; round++) {
        const all = shuffled(cases(log, round, before, answer), random(round))
        const exits = yield* atOnce(all.map(({ run }) => run))
        const positions = new Map(
          (yield* log.recorder.readAll({ limit: 20_000 })).map(({ id, position }) => [id, position])
        )
        const winners = new Map<string, number>()
        for (const [i, { what, fails, appends, oneOf }] of all.entries()) {
          const exit = exits[i] as Exit.Exit<{ readonly position: Position.Position | undefined }, unknown>
          const where = `${what}, at ${i} of round ${round}`
          if (Exit.isSuccess(exit)) {
            assert.isUndefined(fails, where)
            Object.assign(expected, idsOf(appends))
            const last = appends.at(-1)?.events.at(-1)?.id
            if (last !== undefined) assert.strictEqual(exit.value.position, positions.get(last), where)
            if (oneOf !== undefined) winners.set(oneOf, (winners.get(oneOf) ?? 0) + 1)
          } else {
            const error = yield* Effect.flip(exit)
            if (oneOf !== undefined) {
              assert.include(["RecorderFailure", "WrongExpectedVersion"], (error as { _tag: string })._tag, where)
            } else {
              assert.deepInclude(error, { _tag: fails?.[0] }, `${where}: ${error}`)
              assert.include(String(error), fails?.[1] ?? "", where)
            }
          }
        }
        assert.deepStrictEqual([...winners.values()], [1, 1], `winners of round ${round}`)
      }
      assert.deepStrictEqual(yield* recorded(log), expected)
      yield* seen.until(Object.values(expected).flat().length)
      assert.lengthOf(seen.events, Object.values(expected).flat().length)
    })
  )

  it.live("large ones share calls with small ones", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const small = Arr.makeBy(40, (n) => newAppend(`small-${n}`))
      const large = Arr.makeBy(4, (n) => ({
        ...newAppend(`large-${n}`),
        events: Arr.makeBy(3, () => storedEvent({ payload: new Uint8Array(3 * 2 ** 20).fill(n) }))
      }))
      const many = newAppend("many", 5000)
      const all = shuffled([...small, ...large, many], random(1))
      yield* Effect.forEach(all, (append) => log.recorder.append(append), { concurrency: "unbounded" })
      const found = yield* log.sql<{ count: number; size: number }>`
        SELECT count(*)::integer AS count, sum(length(payload_bytes))::integer AS size
        FROM ${log.sql(schema)}.stored_events`
      assert.deepStrictEqual(found[0], { count: 40 + 12 + 5000, size: 12 * 3 * 2 ** 20 })
    })
  )
})

describe("appends to one stream at once", () => {
  it.live("G2 of many at one version one succeeds, and the others fail with the actual version", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      for (let version = 0; version < 10; version++) {
        const expected = version === 0 ? "NoStream" : version - 1
        const exits = yield* atOnce(Arr.makeBy(50, () => log.recorder.append({ ...newAppend("a"), expected })))
        const refused = yield* failuresOf(exits)
        assert.lengthOf(refused, 49)
        for (const error of refused) {
          assert.deepInclude(error, { _tag: "WrongExpectedVersion", expected, actual: version })
        }
      }
      assert.lengthOf(yield* log.recorder.readAll({ limit: 1000 }), 10)
    })
  )

  it.live("G2 commands that are retried on conflict are all recorded, without gaps", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const logs = [yield* openLog(schema), yield* openLog(schema)] as const
      const append = (n: number) =>
        Effect.retry(logs[n % 2 === 0 ? 0 : 1].append(`Dog-${n % 3}`), {
          while: (error) => (error as { _tag: string })._tag === "WrongExpectedVersion"
        })
      yield* Effect.forEach(Arr.range(1, 90), append, { concurrency: "unbounded" })
      for (const n of [0, 1, 2]) {
        const events = yield* logs[0].recorder.readStream({ stream: name(`${n}`), limit: 1000 })
        assert.deepStrictEqual(
          events.map(({ version }) => version),
          Arr.range(0, 29)
        )
      }
    })
  )

  it.live("G7 the same append, sent many times concurrently, is recorded once, and all return the same result", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      const several = Context.get(log.services, MultiStreamAppend.MultiStreamAppend)
      const one = newAppend(randomUUID(), 2)
      const two = [newAppend("a"), newAppend("b")] as const
      const others = Arr.makeBy(30, (n) => newAppend(`other-${n}`))
      const [ones, twos] = yield* Effect.all(
        [
          Effect.all(
            Arr.makeBy(20, () => log.recorder.append(one)),
            { concurrency: "unbounded" }
          ),
          Effect.all(
            Arr.makeBy(20, () => several.append(two)),
            { concurrency: "unbounded" }
          ),
          Effect.forEach(others, (append) => log.recorder.append(append), { concurrency: "unbounded" })
        ],
        { concurrency: "unbounded" }
      )
      for (const same of ones) assert.deepStrictEqual(same, ones[0])
      for (const same of twos) assert.deepStrictEqual(same, twos[0])
      assert.deepStrictEqual(yield* recorded(log), idsOf([one, ...two, ...others]))
    })
  )
})
