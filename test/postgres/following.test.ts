/** Followers on real connections: how they are woken, and how they proceed when they are not. */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Redacted, Scope, Stream } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { eventually } from "../support/eventually.ts"
import type { Server } from "../support/postgresServer.ts"
import { startServer } from "../support/postgresServer.ts"
import { newSchema } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { openLog, watch } from "./support/openLog.ts"

/** A poll interval that no test reaches: a follower that wakes was notified. */
const NO_POLL = { pollInterval: "1 hour" } as const

/** A name for the connections of one log, to find them by. */
const newName = Effect.sync(() => `follow-${randomUUID().slice(0, 8)}`)

/** The listening backends among the connections with a name. */
const listeners = ({ sql }: Log, applicationName: string) =>
  Effect.map(
    sql<{ pid: number }>`
      SELECT pid FROM pg_stat_activity WHERE application_name = ${applicationName} AND query LIKE 'LISTEN%'`,
    (rows) => rows.map(({ pid }) => pid)
  )

/** Waits until this many backends listen, and returns their process ids. */
const listening = (log: Log, applicationName: string, count: number) =>
  Effect.andThen(
    eventually(
      `${count} backends listen`,
      Effect.map(listeners(log, applicationName), ({ length }) => length === count)
    ),
    listeners(log, applicationName)
  )

/** A server for one test, to be stopped and started. */
const ownServer: Effect.Effect<Server, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => startServer()),
  ({ stop }) => Effect.promise(stop)
)

const versions = (stream: string, count: number) =>
  Array.from({ length: count }, (_, version) => `${stream}@${version}`)

describe("notifications", () => {
  it.live("G3 followers are notified of the appends of another connection, without the poll", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const mine = yield* openLog(schema, { ...NO_POLL, client: { applicationName: name } })
      const others = yield* openLog(schema)
      const seen = [yield* watch(mine.recorder), yield* watch(mine.recorder)]
      yield* listening(mine, name, 1)
      for (let count = 1; count <= 20; count++) {
        yield* others.append("Dog-a")
        for (const { until } of seen) yield* until(count)
      }
      for (const { events } of seen) assert.deepStrictEqual(events, versions("Dog-a", 20))
    })
  )

  it.live("G3 a transaction's appends are notified at its commit, and rolled back ones never", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const mine = yield* openLog(schema, { ...NO_POLL, client: { applicationName: name } })
      const others = yield* openLog(schema)
      const seen = yield* watch(mine.recorder)
      yield* listening(mine, name, 1)
      yield* others.sql.withTransaction(
        Effect.gen(function* () {
          yield* others.append("Dog-a", 2)
          yield* others.append("Dog-b", 600)
        })
      )
      yield* seen.until(602)
      yield* Effect.exit(others.sql.withTransaction(Effect.andThen(others.append("Dog-a"), Effect.fail("roll back"))))
      yield* others.append("Dog-b")
      yield* seen.until(603)
      assert.deepStrictEqual(seen.events, [...versions("Dog-a", 2), ...versions("Dog-b", 601)])
    })
  )

  it.live("G3 events that are appended while the listening connection is opened are not missed", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const others = yield* openLog(schema)
      for (let round = 0; round < 10; round++) {
        const mine = yield* openLog(schema, NO_POLL)
        const seen = yield* watch(mine.recorder)
        // at any moment while the connection is being made
        yield* others.append("Dog-a")
        yield* seen.until(round + 1)
        assert.deepStrictEqual(seen.events, versions("Dog-a", round + 1))
      }
    })
  )

  it.live("with `listen: false` the poll finds new events, and no connection listens", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const mine = yield* openLog(schema, {
        listen: false,
        pollInterval: "20 millis",
        client: { applicationName: name }
      })
      const others = yield* openLog(schema)
      const seen = yield* watch(mine.recorder)
      for (let count = 1; count <= 10; count++) {
        yield* others.append("Dog-a")
        yield* seen.until(count)
      }
      assert.deepStrictEqual(yield* listeners(mine, name), [])
      assert.deepStrictEqual(seen.events, versions("Dog-a", 10))
    })
  )

  it.live("events without a notification are found by the poll, even if a connection listens", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const log = yield* openLog(schema, { pollInterval: "50 millis", client: { applicationName: name } })
      const others = yield* openLog(schema)
      yield* others.append("Dog-a")
      const seen = [yield* watch(log.recorder), yield* watch(log.recorder)]
      for (const { until } of seen) yield* until(1)
      const [pid] = yield* listening(log, name, 1)
      // as the function does it, but without the notification
      const append = (version: number) => others.sql`
        INSERT INTO ${others.sql(schema)}.stored_events
        SELECT nextval(${`"${schema}".stored_events_position`}::regclass), stream, ${version}, gen_random_uuid(), type,
          schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at
        FROM ${others.sql(schema)}.stored_events WHERE version = 0`
      for (const version of [1, 2, 3]) {
        yield* append(version)
        for (const { until } of seen) yield* until(version + 1)
      }
      assert.deepStrictEqual(yield* listeners(log, name), [pid])
      for (const { events } of seen) assert.deepStrictEqual(events, versions("Dog-a", 4))
    })
  )

  it.live("other messages on the channel do no harm: new events are found by the poll at the latest", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const log = yield* openLog(schema, { pollInterval: "50 millis", client: { applicationName: name } })
      const others = yield* openLog(schema)
      const seen = yield* watch(log.recorder)
      yield* listening(log, name, 1)
      let count = 0
      for (const said of ["", "rex", "-1", "0", "1e3", "1000000", "9".repeat(1000)]) {
        yield* others.sql`SELECT pg_notify('stored_events_' || ${`"${schema}".stored_events`}::regclass::oid, ${said})`
        yield* others.append("Dog-a")
        yield* seen.until(++count)
      }
      assert.deepStrictEqual(seen.events, versions("Dog-a", count))
    })
  )

  it.live("a follower needs none of the pool's connections: with one of them, appends and transactions work", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const log = yield* openLog(schema, { ...NO_POLL, client: { applicationName: name, maxConnections: 1 } })
      const others = yield* openLog(schema)
      const seen = [yield* watch(log.recorder), yield* watch(log.recorder)]
      yield* listening(log, name, 1)
      yield* log.append("Dog-a")
      yield* log.sql.withTransaction(log.append("Dog-a", 2))
      yield* others.append("Dog-a")
      yield* Effect.forEach([0, 1, 2, 3], (n) => log.append(`Dog-b${n}`), { concurrency: "unbounded" })
      for (const { until } of seen) yield* until(8)
      const [one] = yield* log.sql<{ count: number }>`
        SELECT count(*)::integer AS count FROM pg_stat_activity WHERE application_name = ${name}`
      assert.strictEqual(one?.count, 2)
    })
  )
})

describe("the listening backend", () => {
  it.live("is one for each log, however many followers there are, and none without followers", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const scope = yield* Scope.make()
      const log = yield* Scope.provide(openLog(schema, { ...NO_POLL, client: { applicationName: name } }), scope)
      const observer = yield* openLog(schema)
      yield* log.append("Dog-a")
      assert.deepStrictEqual(yield* listeners(observer, name), [])

      const following = [yield* Scope.make(), yield* Scope.make(), yield* Scope.make()]
      for (const one of following) yield* (yield* Scope.provide(watch(log.recorder), one)).until(1)
      const pids = yield* listening(observer, name, 1)
      for (const one of following.slice(1)) yield* Scope.close(one, Exit.void)
      yield* observer.append("Dog-a")
      assert.deepStrictEqual(yield* listeners(observer, name), pids)
      // closed with the last follower
      for (const one of following) yield* Scope.close(one, Exit.void)
      yield* listening(observer, name, 0)

      // opened again with the next one, also if that ends on its own, and closed with the layer
      yield* Stream.runDrain(Stream.take(log.recorder.follow({}), 1))
      yield* listening(observer, name, 0)
      const following2 = yield* Effect.forkChild(Stream.runDrain(log.recorder.follow({})), { startImmediately: true })
      yield* listening(observer, name, 1)
      yield* Scope.close(scope, Exit.void)
      yield* listening(observer, name, 0)
      const error = yield* Effect.flip(Fiber.join(following2))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.include(error.message, "the log was closed")
    })
  )

  it.live(
    "G3 terminated while idle, it is replaced: events recorded meanwhile are seen, and new ones are notified",
    () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const name = yield* newName
        const log = yield* openLog(schema, { ...NO_POLL, client: { applicationName: name } })
        const others = yield* openLog(schema)
        const seen = yield* watch(log.recorder)
        for (let round = 0; round < 3; round++) {
          const [pid] = yield* listening(others, name, 1)
          yield* others.sql`SELECT pg_terminate_backend(${pid})`
          yield* others.append("Dog-a")
          yield* seen.until(3 * round + 1)
          yield* eventually(
            "another one listens",
            Effect.map(listeners(others, name), ([next]) => next !== undefined && next !== pid)
          )
          yield* others.append("Dog-a", 2)
          yield* seen.until(3 * round + 3)
        }
        assert.deepStrictEqual(seen.events, versions("Dog-a", 9))
      })
  )

  it.live("G3 terminated repeatedly under appends, followers have no gap and no duplicate", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = yield* newName
      const log = yield* openLog(schema, { ...NO_POLL, client: { applicationName: name } })
      const others = yield* openLog(schema)
      const seen = [yield* watch(log.recorder), yield* watch(log.recorder)]
      const count = 300
      const appending = Effect.forEach(
        ["Dog-a", "Dog-b", "Dog-c", "Dog-d"],
        (one) => Effect.replicateEffect(others.append(one), count, { discard: true }),
        { concurrency: "unbounded" }
      )
      let killed = 0
      const killing = listeners(others, name).pipe(
        Effect.flatMap((pids) => Effect.forEach(pids, (pid) => others.sql`SELECT pg_terminate_backend(${pid})`)),
        Effect.tap(({ length }) =>
          Effect.sync(() => {
            killed += length
          })
        ),
        Effect.andThen(Effect.yieldNow),
        Effect.forever
      )
      yield* Effect.raceFirst(appending, killing)
      assert.isAbove(killed, 0)
      for (const { until } of seen) yield* until(4 * count)
      const recorded = yield* others.recorder.readAll({ limit: 10_000 })
      for (const { events } of seen) {
        assert.deepStrictEqual(
          events,
          recorded.map(({ stream, version }) => `${stream}@${version}`)
        )
      }
      // notified again, in the end
      yield* listening(others, name, 1)
      yield* others.append("Dog-a")
      for (const { until } of seen) yield* until(4 * count + 1)
    })
  )
})

/** A follower, and the states that it has reached. */
interface Follower {
  readonly states: ReadonlyArray<Recorder.FollowState>
  /** Waits until it is in a state. */
  readonly until: (tag: Recorder.FollowState["_tag"]) => Effect.Effect<void, unknown>
}

const told = (what: string, condition: () => boolean) => eventually(what, Effect.sync(condition))

const follow = ({ recorder }: Log): Effect.Effect<Follower, never, Scope.Scope> =>
  Effect.gen(function* () {
    const states: Array<Recorder.FollowState> = []
    const onState = (state: Recorder.FollowState) => Effect.asVoid(Effect.sync(() => states.push(state)))
    yield* Effect.forkScoped(Stream.runDrain(recorder.follow({ onState })), { startImmediately: true })
    return { states, until: (tag) => told(tag, () => states.at(-1)?._tag === tag) }
  })

const retryingOf = (states: Follower["states"]) => states.filter((state) => state._tag === "Retrying")

describe.concurrent("a server that goes away", () => {
  it.live(
    "G3 restarted under followers and appends: no gap, no duplicate, and they are notified of appends again",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const client = { url: Redacted.make(server.url) }
        const name = yield* newName
        const log = yield* openLog("restarted", { ...NO_POLL, client: { ...client, applicationName: name } })
        const others = yield* openLog("restarted", { client })
        const seen = [yield* watch(log.recorder), yield* watch(log.recorder)]
        let stop = false
        const writing = yield* Effect.forkChild(
          Effect.gen(function* () {
            let version = 0
            for (; !stop; version++) {
              const stream = StreamName.StreamName.make("Dog-a")
              const expected = version === 0 ? ("NoStream" as const) : version - 1
              // resends the same events, as the event store does
              yield* Effect.retry(others.recorder.append({ stream, expected, events: storedEvents(1) }), {
                while: (error) => error._tag === "RecorderUnavailable"
              })
            }
            return version
          }),
          { startImmediately: true }
        )
        yield* seen[0]!.until(50)
        for (let round = 0; round < 2; round++) {
          yield* Effect.promise(() => server.restart())
          for (const { events, until } of seen) yield* until(events.length + 50)
        }
        stop = true
        const count = yield* Fiber.join(writing)
        for (const { until } of seen) yield* until(count)
        yield* listening(others, name, 1)
        for (let n = 1; n <= 5; n++) {
          yield* others.append("Dog-a")
          for (const { until } of seen) yield* until(count + n)
        }
        for (const { events } of seen) assert.deepStrictEqual(events, versions("Dog-a", count + 5))
      })
  )

  it.live(
    "G12 a follower that starts while it is down reports that it is retrying, since when and why, and is live afterwards",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const log = yield* openLog("states", { ...NO_POLL, client: { url: Redacted.make(server.url) } })
        const { position } = yield* log.append("Dog-a")
        const follower = yield* Deferred.make<Follower>()
        const context = yield* Effect.context<Scope.Scope>()
        const whileDown = Effect.gen(function* () {
          const following = yield* follow(log)
          yield* Deferred.succeed(follower, following)
          yield* told("it has tried again", () => retryingOf(following.states).length > 1)
        })
        yield* Effect.promise(() => server.restart(() => Effect.runPromiseWith(context)(whileDown)))
        const { states, until } = yield* Deferred.await(follower)
        yield* until("Live")
        assert.deepStrictEqual(states[0], { _tag: "CatchingUp", position: undefined })
        for (const [i, state] of retryingOf(states).entries()) {
          assert.strictEqual(state.error._tag, "RecorderUnavailable")
          assert.deepStrictEqual(state.attempts, i + 1)
          assert.deepStrictEqual(state.since, retryingOf(states)[0]?.since)
        }
        assert.deepStrictEqual(states.at(-1), { _tag: "Live", position })
        const after = yield* log.append("Dog-a")
        yield* told("live at the next", () => states.at(-1)?.position === after.position)
      })
  )

  it.live(
    "G12 a live follower with nothing to read reports that it is retrying while it is down, and is live afterwards",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const log = yield* openLog("states", { pollInterval: "20 millis", client: { url: Redacted.make(server.url) } })
        const { position } = yield* log.append("Dog-a")
        const { states, until } = yield* follow(log)
        yield* until("Live")
        yield* Effect.promise(() => server.restart(() => Effect.runPromise(until("Retrying"))))
        for (const state of retryingOf(states)) assert.strictEqual(state.position, position)
        yield* until("Live")
        const after = yield* log.append("Dog-a")
        yield* told("live at the next", () => states.at(-1)?.position === after.position)
      })
  )
})
