/**
 * Filtered followers: they pass events that the filter excludes, and continuing from any reported position loses
 * nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import { jsonEvent, KurrentDBClient } from "@kurrent/kurrentdb-client"
import type { Scope } from "effect"
import { Effect, Stream } from "effect"
import type { Recorder, StoredEvent } from "effect-eventsourcing"
import { Position, StreamName } from "effect-eventsourcing"
import { storedEvent } from "effect-eventsourcing/testing/backend"
import { eventually } from "../../support/eventually.ts"
import { random } from "../../support/random.ts"
import type { Log } from "../support/logs.ts"
import { openLog, ownFake, watch } from "../support/logs.ts"
import { isFake, uri } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)

const client = (connectionString = uri): Effect.Effect<KurrentDBClient, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => KurrentDBClient.connectionString(connectionString)),
    (one) => Effect.promise(() => one.dispose())
  )

/** Events that belong to no log: other data on the server. */
const others = (to: KurrentDBClient, count: number) =>
  Effect.promise(() =>
    to.appendToStream(
      `others${crypto.randomUUID()}`,
      Array.from({ length: count }, (_, n) => jsonEvent({ type: "Dog.Barked", data: { n } }))
    )
  )

const name = (text: string) => StreamName.StreamName.make(text)

const versions = new WeakMap<Log, Map<string, number>>()

/** Appends events of these types to the end of a stream. */
const append = (log: Log, stream: string, ...types: readonly [string, ...ReadonlyArray<string>]) =>
  Effect.gen(function* () {
    const known = versions.get(log) ?? new Map<string, number>()
    versions.set(log, known)
    const last = known.get(stream)
    const [first, ...rest] = types.map((type) => storedEvent({ type }))
    const events: readonly [StoredEvent.StoredEvent, ...Array<StoredEvent.StoredEvent>] = [first!, ...rest]
    known.set(stream, (last ?? -1) + events.length)
    const { position } = yield* log.recorder.append({ stream: name(stream), expected: last ?? "NoStream", events })
    return { position, events, stream }
  })

/** Whether an event matches a filter, as the port defines it. */
const meets =
  ({ categories, types }: Recorder.Filter = {}) =>
  ({ stream, type }: { readonly stream: string; readonly type: string }) =>
    (categories === undefined || categories.includes(stream.slice(0, stream.indexOf("-")))) &&
    (types === undefined || types.includes(type))

/** The events of a log after a position that match a filter, in order. */
const expected = (log: Log, filter: Recorder.Filter | undefined, after?: Position.Position) =>
  Effect.map(log.recorder.readAll({ limit: 1_000_000 }), (all) =>
    all.filter((event) => meets(filter)(event) && (after === undefined || event.position > after)).map(({ id }) => id)
  )

/**
 * What a follower that starts after a position finds until it has caught up, and how many events it had at each
 * position.
 */
const follow = (log: Log, filter: Recorder.Filter | undefined, after?: Position.Position) =>
  log.recorder.follow({ after, filter }).pipe(
    Stream.takeUntil(({ caughtUp }) => caughtUp),
    Stream.runCollect,
    Effect.map((batches) => {
      const ids: Array<string> = []
      const told = new Map<Position.Position | undefined, number>()
      for (const { notifications, position } of batches) {
        for (const { id } of notifications) ids.push(id)
        told.set(position, ids.length)
      }
      return { ids, told }
    })
  )

const filters: ReadonlyArray<Recorder.Filter | undefined> = [
  undefined,
  { categories: ["Dog"] },
  { types: ["Barked"] },
  { categories: ["Dog"], types: ["Barked"] },
  { categories: ["Dog", "Cat"], types: ["Barked", "Slept"] },
  { categories: [] },
  { types: [] },
  { categories: ["Nobody"] },
  { types: ["never (yet)", "a|b", "Bark.*"] }
]

describe("filters of followers", () => {
  it.live.each(filters.map((filter) => [filter] as const))(
    "G3 %j selects what it says and nothing else, old and new",
    ([filter]) =>
      Effect.gen(function* () {
        const log = yield* openLog()
        const direct = yield* client()
        const rounds = (n: number) =>
          Effect.gen(function* () {
            yield* append(log, `Dog-${n}`, "Barked", "Slept")
            yield* append(log, `Cat-${n}`, "Slept", "Barked")
            yield* append(log, `Dog2-${n}`, "Barked", "Bark.*", "a|b")
            yield* append(log, "Do-g-1", "Barked2", "barked")
            yield* others(direct, 3)
          })
        yield* rounds(1)
        const seen = yield* watch(log, { filter })
        yield* rounds(2)
        const { position } = yield* append(log, "Cat-end", "Ended")
        const all = yield* expected(log, filter)
        // the end is reported, even if the filter excludes it
        yield* seen.untilReached(position)
        yield* seen.until(() => seen.ids.length >= all.length)
        assert.deepStrictEqual(seen.ids, all)
      })
  )

  it.live("a sparse filter skips many events, and reports its position on the way", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const direct = yield* client()
      const first = yield* append(log, "Dog-1", "Barked")
      for (let n = 0; n < 5; n++) {
        yield* append(log, "Cat-1", ...(Array.from({ length: 600 }, () => "Slept") as [string, ...Array<string>]))
        yield* others(direct, 600)
      }
      const last = yield* append(log, "Dog-1", "Barked")
      const end = yield* append(log, "Cat-1", "Slept")
      for (const filter of [{ categories: ["Dog"] }, { types: ["Barked"] }]) {
        const seen = yield* watch(log, { filter })
        yield* seen.untilReached(end.position)
        assert.deepStrictEqual(seen.ids, [first.events[0].id, last.events[0].id])
        assert.strictEqual(seen.states.at(-1)?._tag, "Live")
      }
    })
  )

  it.live("a follower that never finds a match advances on a quiet log, and reports nothing on an empty one", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const seen = yield* watch(log, { filter: { types: ["Never"] } })
      yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
      assert.isUndefined(seen.position())
      for (let n = 0; n < 3; n++) {
        const { position } = yield* append(log, "Dog-1", "Barked")
        yield* seen.untilReached(position)
      }
      assert.deepStrictEqual(seen.ids, [])
    })
  )

  it.live("two logs on one server do not see each other", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* openLog(), yield* openLog()]
      const [ones, twos] = [yield* watch(one), yield* watch(two, { filter: { types: ["Barked"] } })]
      const first = yield* append(one, "Dog-1", "Barked")
      const second = yield* append(two, "Dog-1", "Barked")
      const third = yield* append(one, "Dog-1", "Barked")
      yield* ones.until(() => ones.ids.length >= 2)
      yield* twos.until(() => twos.ids.length >= 1)
      assert.deepStrictEqual(ones.ids, [first.events[0].id, third.events[0].id])
      assert.deepStrictEqual(twos.ids, [second.events[0].id])
    })
  )
})

describe("resuming from a reported position", () => {
  it.live.each([1, 2, 3])("G3 delivers exactly the rest, from any of them, in a random log (seed %i)", (seed) =>
    Effect.gen(function* () {
      const next = random(seed)
      const log = yield* openLog()
      const direct = yield* client()
      const pick = <A>(...of: ReadonlyArray<A>) => of[Math.floor(next() * of.length)] as A
      // runs of excluded events, up to and across the pages and windows of the server
      for (let round = 0; round < 12; round++) {
        const run = pick(1, 1, 1, 2, 31, 32, 33, 64, 511, 512, 513)
        const types = Array.from({ length: run }, () => (next() < 0.05 ? "Barked" : "Slept"))
        yield* append(
          log,
          `${pick("Dog", "Cat", "Cat", "Cow")}-${pick(1, 2)}`,
          ...(types as [string, ...Array<string>])
        )
        if (next() < 0.5) yield* others(direct, pick(1, 31, 32, 500))
        if (next() < 0.3) yield* append(log, "Dog-1", "Barked")
      }
      for (const filter of filters.slice(0, 5)) {
        const all = yield* expected(log, filter)
        const whole = yield* follow(log, filter)
        assert.deepStrictEqual(whole.ids, all)
        // the server is queried again for each: only a handful, but different ones with each seed
        for (const [position, before] of [...whole.told].sort(() => next() - 0.5).slice(0, 8)) {
          const { ids } = yield* follow(log, filter, position)
          const place = `behind ${position} with ${JSON.stringify(filter)}, seed ${seed}`
          assert.deepStrictEqual(ids, all.slice(before), place)
        }
      }
    })
  )

  it.live.each([5, 6, 7])("G3 delivers exactly the rest, while others append (seed %i)", (seed) =>
    Effect.gen(function* () {
      const next = random(seed)
      const log = yield* openLog()
      const direct = yield* client()
      const pick = <A>(...of: ReadonlyArray<A>) => of[Math.floor(next() * of.length)] as A
      let isOver = false
      const writer = Effect.gen(function* () {
        for (let round = 0; round < 150; round++) {
          yield* append(
            log,
            pick("Cat-1", "Cow-1"),
            ...(Array.from({ length: pick(1, 3, 40) }, () => "Slept") as [string])
          )
          if (next() < 0.3) yield* append(log, "Dog-1", "Barked")
          if (next() < 0.3) yield* others(direct, pick(1, 33))
        }
        yield* append(log, "Dog-end", "Barked")
        isOver = true
      })
      const filter = { categories: ["Dog"], types: ["Barked"] }
      /** Follows for a batch or a few, and then starts again after the position that was reported last. */
      const follower = Effect.gen(function* () {
        const ids: Array<string> = []
        let after: Position.Position | undefined
        while (!isOver || !ids.includes(yield* lastId)) {
          const count = 1 + Math.floor(next() * 3)
          yield* log.recorder.follow({ after, filter }).pipe(
            Stream.take(count),
            Stream.runForEach((batch) =>
              Effect.sync(() => {
                ids.push(...batch.notifications.map(({ id }) => id))
                after = batch.position
              })
            ),
            Effect.timeoutOption(`${Math.floor(next() * 60)} millis`)
          )
        }
        return ids
      })
      const lastId = Effect.map(
        log.recorder.readStream({ stream: name("Dog-end"), limit: 1 }),
        ([event]) => event?.id ?? "none yet"
      )
      const [, one, two] = yield* Effect.all([writer, follower, follower], { concurrency: "unbounded" })
      const all = yield* expected(log, filter)
      assert.deepStrictEqual(one, all)
      assert.deepStrictEqual(two, all)
    })
  )

  it.live("G3 delivers later events, from each position that a live follower without matches has reported", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const filter = { types: ["Barked"] }
      const told: Array<{ readonly position: Position.Position | undefined; readonly seen: number }> = []
      const ids: Array<string> = []
      yield* log.recorder.follow({ filter }).pipe(
        Stream.runForEach(({ notifications, position }) =>
          Effect.sync(() => {
            ids.push(...notifications.map(({ id }) => id))
            told.push({ position, seen: ids.length })
          })
        ),
        Effect.forkScoped({ startImmediately: true })
      )
      for (let n = 0; n < 3; n++) {
        const { position } = yield* append(log, "Cat-1", "Slept")
        // or further: other programs may have written to the server in between
        yield* eventually(
          "it has moved",
          Effect.sync(() => (told.at(-1)?.position ?? -1n) >= position)
        )
        yield* append(log, "Cat-1", "Slept", "Barked", "Slept")
      }
      yield* eventually(
        "it has seen all",
        Effect.sync(() => ids.length === 3)
      )
      const all = yield* expected(log, filter)
      assert.deepStrictEqual(ids, all)
      for (const { position, seen } of told) {
        const rest = yield* follow(log, filter, position)
        assert.deepStrictEqual(rest.ids, all.slice(seen), `behind ${position}`)
      }
    })
  )

  it.live("G3 works from the position of another program's event, after the log's last, too", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const direct = yield* client()
      const filter = { types: ["Barked"] }
      const seen = yield* watch(log, { filter })
      yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
      const { position } = yield* append(log, "Cat-1", "Slept")
      // more than the server searches before it reports its progress, so that it reports a place among them
      yield* others(direct, 600)
      yield* seen.until(() => (seen.position() ?? position) > position)
      const told = seen.position()
      const { events } = yield* append(log, "Dog-1", "Barked")
      yield* seen.until(() => seen.ids.length === 1)
      assert.deepStrictEqual((yield* follow(log, filter, told)).ids, [events[0].id])
    })
  )

  it.live("G3 works from the position of any event, of the head and of an append, with any filter", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const positions: Array<Position.Position> = []
      for (let n = 0; n < 2; n++) {
        positions.push((yield* append(log, `Dog-${n}`, "Barked", "Slept", "Barked")).position)
        positions.push((yield* append(log, `Cat-${n}`, "Slept")).position)
        const head = yield* log.recorder.head
        assert.strictEqual(head, positions.at(-1))
      }
      const every = (yield* log.recorder.readAll({ limit: 100 })).map(({ position }) => position)
      assert.includeMembers([...every], positions)
      for (const filter of filters) {
        for (const position of every) {
          assert.deepStrictEqual((yield* follow(log, filter, position)).ids, yield* expected(log, filter, position))
        }
      }
    })
  )
})

describe("where a follower resumes after a lost connection", () => {
  for (const seed of [1, 2, 3]) {
    onFake(`G3 is after the events that it has seen and before the others, with filters (seed ${seed})`, () =>
      Effect.gen(function* () {
        const fake = yield* ownFake()
        const next = random(seed)
        const log = yield* openLog({ connectionString: fake.uri })
        const pick = <A>(...of: ReadonlyArray<A>) => of[Math.floor(next() * of.length)] as A
        const filled = (rounds: number) =>
          Effect.gen(function* () {
            for (let n = 0; n < rounds; n++) {
              yield* append(log, "Cat-1", ...(Array.from({ length: pick(1, 5, 33, 600) }, () => "Slept") as [string]))
              yield* append(
                log,
                "Dog-1",
                ...(Array.from({ length: pick(1, 2, 40) }, () => pick("Barked", "Slept")) as [string])
              )
            }
          })
        yield* filled(15)
        fake.faults.dropSubscriptions(pick(0, 1, 7, 31), 6)
        const kept = filters.slice(0, 4)
        const followers = yield* Effect.forEach(kept, (filter) => watch(log, { filter }))
        for (let cut = 0; cut < 8; cut++) {
          yield* Effect.retry(filled(2), { times: 3 }).pipe(Effect.ignore)
          fake.faults.endSubscriptions(pick("shutdown", "slow"))
          if (next() < 0.3) fake.faults.dropSubscriptions(pick(1, 20), 2)
        }
        for (const [n, follower] of followers.entries()) {
          const all = yield* expected(log, kept[n])
          yield* follower.until(() => follower.ids.length >= all.length)
          assert.deepStrictEqual(follower.ids, all)
        }
      })
    )
  }
})

describe("an older server, which reports position 2^64 - 1 if it has scanned little and found nothing", () => {
  for (const filter of [
    { categories: ["Later"] },
    { types: ["Later.Happened"] },
    { categories: ["Later"], types: ["Later.Happened"] }
  ]) {
    onFake(`G3 followers tell no such position, and lose nothing: ${JSON.stringify(filter)}`, () =>
      Effect.gen(function* () {
        const fake = yield* ownFake({ version: "24.6.0" })
        const log = yield* openLog({ connectionString: fake.uri })
        const { position } = yield* append(log, "Dog-a", "Dog.Registered")
        const seen = yield* watch(log, { filter })
        yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
        yield* seen.until(() => seen.position() === position)
        // it continues to report its progress, though no checkpoint comes
        const other = yield* append(log, "Dog-a", "Dog.Barked")
        yield* seen.until(() => seen.position() === other.position)
        const first = yield* append(log, "Later-a", "Later.Happened", "Later.Happened")
        yield* seen.until(() => seen.ids.length === 2)
        assert.strictEqual(seen.position(), first.position)
        // also on a connection that is lost
        fake.faults.refuse("subscriptions", { code: 14, details: "not now" }, 3)
        fake.faults.endSubscriptions()
        yield* append(log, "Later-b", "Later.Happened")
        yield* seen.until(() => seen.ids.length === 3)
        assert.deepStrictEqual(seen.ids, yield* expected(log, filter))
      })
    )
  }

  onFake(
    "G3 a follower loses no event that is recorded while its connection is lost, even if nothing matched before",
    () =>
      Effect.gen(function* () {
        const fake = yield* ownFake({ version: "24.6.0" })
        const log = yield* openLog({ connectionString: fake.uri })
        const filter = { categories: ["Later"] }
        const seen = yield* watch(log, { filter })
        yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
        fake.faults.refuse("subscriptions", { code: 14, details: "not now" }, 2)
        fake.faults.endSubscriptions()
        yield* append(log, "Later-a", "Later.Happened", "Later.Happened")
        yield* seen.until(() => seen.ids.length === 2)
      })
  )
})

describe("a position that no event can have", () => {
  it.live("makes followers and reads fail, and never wait silently", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      yield* append(log, "Dog-a", "Dog.Registered")
      const after = Position.Position.make(2n ** 64n - 1n)
      for (const filter of [undefined, { categories: ["Dog"] }]) {
        const followed = yield* Effect.flip(Stream.runHead(log.recorder.follow({ after, filter })))
        assert.deepInclude(followed, { _tag: "RecorderFailure" })
        const read = yield* Effect.flip(log.recorder.readAll({ after, filter, limit: 1 }))
        assert.deepInclude(read, { _tag: "RecorderFailure" })
      }
    })
  )
})
