/** What the metrics count, and where: in the registry of the fiber that builds the layers. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, Metric, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  EventSourcing,
  EventSourcingError,
  EventStore,
  Projection,
  ProjectionRunner,
  Repository
} from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { layerSqlClient, SqliteLayer } from "effect-eventsourcing/sqlite"
import { untilState } from "../projection/support/runnerStates.ts"
import { temporaryDirectory } from "../support/backends.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { losingAnswers, makeLog } from "../support/memoryLog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import { ownRegistry, snapshots, values } from "./support/metrics.ts"

const fido = Dog.id("Fido")
const counter = Counter.id("one")
const register = Dog.Registered({ name: "Fido" })

const none = {
  appends_total: 0,
  events_appended_total: 0,
  append_conflicts_total: 0,
  cache_hits_total: 0,
  cache_misses_total: 0
}

const onMemory = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  self.pipe(Effect.scoped, Effect.provide(Layer.merge(MemoryLayer(), MemoryViews())), ownRegistry)

describe("the counter of appends", () => {
  it.effect("is zero at first, and exists from the start", () =>
    onMemory(
      Effect.gen(function* () {
        yield* Repository.of(Dog)
        assert.deepStrictEqual(yield* values(), none)
      })
    )
  )

  it.effect("counts appends and events, through repositories, transactions and the event store", () =>
    onMemory(
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        const store = yield* EventStore.EventStore
        yield* dogs.execute(fido, [register, Dog.TrickAdded({ trick: "sit" })])
        assert.deepInclude(yield* values(), { appends_total: 1, events_appended_total: 2 })
        yield* store.append(Dog, fido, { expected: "Any", events: [Dog.Rested(), Dog.Rested(), Dog.Rested()] })
        assert.deepInclude(yield* values(), { appends_total: 2, events_appended_total: 5 })
        // to two streams at once
        yield* Repository.transaction(
          { dog: Repository.existing(Dog, fido), counter: Repository.missing(Counter, counter) },
          () => ({ dog: [Dog.Rested(), Dog.Rested()], counter: Counter.Started() })
        )
        assert.deepInclude(yield* values(), {
          appends_total: 3,
          events_appended_total: 8,
          append_conflicts_total: 0
        })
        // a decision without events appends nothing
        yield* dogs.execute(
          fido,
          Dog.decide(() => [])
        )
        assert.deepInclude(yield* values(), { appends_total: 3, events_appended_total: 8 })
      })
    )
  )

  it.effect("counts an append once if its answer is lost and it is sent again", () =>
    Effect.gen(function* () {
      const { log, calls } = losingAnswers(yield* makeLog, { times: 1 })
      yield* Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* dogs.execute(fido, register)
      }).pipe(Effect.provide(EventSourcing.layer()), Effect.provideContext(log))
      assert.strictEqual(calls.append, 2)
      assert.deepInclude(yield* values(), { appends_total: 1, events_appended_total: 1, append_conflicts_total: 0 })
    }).pipe(Effect.scoped, ownRegistry)
  )
})

describe("a conflict", () => {
  const rest = { expected: 0, events: [Dog.Rested()] }

  it.effect("is counted for each append that is refused, also if a repository retries", () =>
    onMemory(
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        const store = yield* EventStore.EventStore
        yield* dogs.execute(fido, register)
        yield* store.append(Dog, fido, rest)
        assert.instanceOf(yield* Effect.flip(store.append(Dog, fido, rest)), EventSourcingError.WrongExpectedVersion)
        assert.deepInclude(yield* values(), { appends_total: 2, append_conflicts_total: 1 })
        // the cached state is stale
        yield* dogs.execute(fido, addTrick("sit"))
        assert.deepInclude(yield* values(), { appends_total: 3, append_conflicts_total: 2 })
        yield* store.append(Dog, fido, { expected: 2, events: [Dog.Rested()] })
        yield* Repository.transaction(
          { dog: Repository.existing(Dog, fido), counter: Repository.missing(Counter, counter) },
          () => ({ dog: Dog.Rested() })
        )
        assert.deepInclude(yield* values(), { appends_total: 5, append_conflicts_total: 2 })
      })
    )
  )

  it.effect("is not counted if nothing was appended", () =>
    onMemory(
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* dogs.execute(fido, register)
        yield* Effect.flip(dogs.execute(fido, Dog.Rested(), { expectedVersion: 7 }))
        assert.deepInclude(yield* values(), { appends_total: 1, append_conflicts_total: 0 })
      })
    )
  )
})

describe("the cache", () => {
  it.effect("is hit or missed once for each requested state", () =>
    onMemory(
      Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        const lookups = Effect.map(values(), ({ cache_hits_total, cache_misses_total }) => [
          cache_hits_total,
          cache_misses_total
        ])
        yield* dogs.execute(fido, register)
        assert.deepStrictEqual(yield* lookups, [0, 1], "what does not exist yet can't be cached")
        yield* dogs.execute(fido, addTrick("sit"))
        assert.deepStrictEqual(yield* lookups, [1, 1], "a cached command")
        yield* Effect.flip(dogs.execute(fido, addTrick("sit")))
        assert.deepStrictEqual(yield* lookups, [2, 1], "a refused command, decided twice")
        yield* dogs.get(fido)
        yield* dogs.get(fido, { allowStale: true })
        assert.deepStrictEqual(yield* lookups, [4, 1], "reading")
        yield* dogs.get(fido, { version: 0 })
        assert.deepStrictEqual(yield* lookups, [4, 1], "the past is not cached")
        yield* Repository.transaction(
          { dog: Repository.existing(Dog, fido), counter: Repository.missing(Counter, counter) },
          () => ({})
        )
        assert.deepStrictEqual(yield* lookups, [5, 2], "the participants of a transaction")
      })
    )
  )

  it.live("is not used within a transaction of the caller's, which does not count as a miss", () =>
    Effect.gen(function* () {
      const filename = `${yield* temporaryDirectory}/events.db`
      const layer = Layer.merge(SqliteLayer({ filename }), layerSqlClient({ filename }))
      yield* Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        const sql = yield* SqlClient.SqlClient
        yield* dogs.execute(fido, register)
        const before = yield* values()
        yield* sql.withTransaction(dogs.execute(fido, addTrick("sit")))
        assert.deepStrictEqual(yield* values(), { ...before, appends_total: 2, events_appended_total: 2 })
      }).pipe(Effect.provide(layer))
    }).pipe(ownRegistry)
  )
})

describe("a registry", () => {
  const addOne = (name: string) =>
    Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(Dog.id(name), register)).pipe(
      Effect.provide(Layer.fresh(MemoryLayer()))
    )

  it.effect("has the sum of all layers that were built with it, and of no others", () =>
    Effect.gen(function* () {
      yield* addOne("a")
      yield* addOne("b")
      yield* ownRegistry(addOne("c"))
      assert.deepInclude(yield* values(), { appends_total: 2, cache_misses_total: 2 })
    }).pipe(ownRegistry)
  )

  it.effect("distinguishes layers that were built with other attributes", () =>
    Effect.gen(function* () {
      const as = (tenant: string) => Effect.provideService(Metric.CurrentMetricAttributes, { tenant })
      yield* as("one")(addOne("a"))
      yield* as("one")(addOne("b"))
      yield* as("two")(addOne("c"))
      assert.deepInclude(yield* values({ tenant: "one" }), { appends_total: 2 })
      assert.deepInclude(yield* values({ tenant: "two" }), { appends_total: 1 })
    }).pipe(ownRegistry)
  )

  it.effect("knows the kind and the unit of each", () =>
    onMemory(
      Effect.gen(function* () {
        const all = yield* snapshots
        assert.deepStrictEqual(
          Object.fromEntries(all.map(({ name, type, attributes }) => [name, [type, attributes]])),
          {
            appends_total: ["Counter", { unit: "{append}" }],
            events_appended_total: ["Counter", { unit: "{event}" }],
            append_conflicts_total: ["Counter", { unit: "{append}" }],
            cache_hits_total: ["Counter", { unit: "{lookup}" }],
            cache_misses_total: ["Counter", { unit: "{lookup}" }]
          }
        )
        for (const metric of all) {
          assert.isAbove(metric.description?.length ?? 0, 10)
          assert.isTrue(metric.type === "Counter" && metric.state.incremental)
        }
      })
    )
  )
})

describe("a projection", () => {
  /** Always fails on increases to 2, and on those to 4 the first two times. */
  const makeFailing = () => {
    let left = 2
    return Projection.make("failing", {
      aggregates: [Counter],
      view: Projection.memory(() => 0),
      handlers: {
        Counter: {
          Started: Projection.ignore,
          Increased: ({ event }, view) =>
            event.to === 2 || (event.to === 4 && left-- > 0) ? Effect.fail("no") : view.update((n) => n + 1)
        }
      }
    })
  }

  const options = { retry: Schedule.recurs(2), onFailure: "set-aside" } as const

  it.live("counts events that were processed, attempts that failed, and events that were set aside", () =>
    onMemory(
      Effect.gen(function* () {
        const projection = makeFailing()
        const counters = yield* Repository.of(Counter)
        const other = Counter.id("other")
        yield* counters.execute(counter, [Counter.Started(), Counter.Increased({ to: 1 })])
        yield* counters.execute(counter, increase)
        yield* counters.execute(counter, increase)
        const to4 = [Counter.Started(), Counter.Increased({ to: 4 })] as const
        const { position } = yield* counters.execute(other, to4)
        const runner = yield* ProjectionRunner.make(projection, options)
        yield* untilProcessed(projection, position)
        yield* untilState(runner, "Live")
        const { projection_state: _, ...all } = yield* values({ projection: "failing", version: "1" })
        assert.deepStrictEqual(all, {
          // the increases to 1 and 4
          events_projected_total: 2,
          // that to 2 three times, that to 4 twice; the failure of the batch precedes them
          projection_retries_total: 5,
          // that to 2, and that to 3 after it
          events_set_aside_total: 2,
          projection_lag_positions: 0,
          projection_lag_seconds: 0
        })
        assert.strictEqual(yield* Projection.read(projection, (view) => view.get), 2)
      })
    ).pipe(Effect.provide(Logger.layer([])))
  )

  it.effect("that is inline counts events whose append was recorded", () =>
    Effect.gen(function* () {
      const filename = `${yield* temporaryDirectory}/events.db`
      const names = Projection.make("names", {
        aggregates: [Dog],
        view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("dogs")} (name text PRIMARY KEY)`),
        inline: true,
        handlers: {
          Dog: {
            Registered: ({ event }, { sql, table }) => sql`INSERT INTO ${table("dogs")} VALUES (${event.name})`,
            TrickAdded: Projection.ignore,
            Rested: () => Effect.void
          }
        }
      })
      const projected = Effect.map(values({ projection: "names" }), (all) => all.events_projected_total)
      yield* Effect.provide(
        Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(fido, register)),
        SqliteLayer({ filename })
      )
      yield* Effect.gen(function* () {
        // the events that existed before
        assert.strictEqual(yield* projected, 1)
        const dogs = yield* Repository.of(Dog)
        yield* ownRegistry(dogs.execute(fido, [Dog.Rested(), Dog.TrickAdded({ trick: "sit" }), Dog.Rested()]))
        assert.strictEqual(yield* projected, 3)
        // a name that is taken
        yield* Effect.flip(dogs.execute(Dog.id("other"), register))
        assert.strictEqual(yield* projected, 3)
      }).pipe(Effect.provide(SqliteLayer({ filename, inline: [names] })))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])), ownRegistry)
  )

  it.effect("counts the events of a batch, and reports its lag, in positions and in seconds", () =>
    onMemory(
      Effect.gen(function* () {
        const [reached, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const projection = Projection.make("slow", {
          aggregates: [Counter],
          view: Projection.memory(() => 0),
          handlers: {
            Counter: {
              Started: Projection.ignore,
              Increased: ({ event }) =>
                event.to === 600
                  ? Effect.andThen(Deferred.succeed(reached, undefined), Deferred.await(goOn))
                  : Effect.void
            }
          }
        })
        const counters = yield* Repository.of(Counter)
        const more = Array.from({ length: 600 }, (_, i) => Counter.Increased({ to: i + 1 }))
        yield* counters.execute(counter, Counter.Started())
        const { position } = yield* counters.execute(
          counter,
          Counter.decide(() => more)
        )
        yield* TestClock.adjust("7 seconds")
        const runner = yield* ProjectionRunner.make(projection)
        yield* Deferred.await(reached)
        const behind = yield* values({ projection: "slow" })
        // one page of 512 out of 601 events has been processed
        assert.deepInclude(behind, { projection_lag_positions: 89, projection_lag_seconds: 7 })
        yield* Deferred.succeed(goOn, undefined)
        yield* untilProcessed(projection, position)
        yield* untilState(runner, "Live")
        assert.deepInclude(yield* values({ projection: "slow" }), {
          events_projected_total: 600,
          projection_lag_positions: 0,
          projection_lag_seconds: 0
        })
      })
    )
  )

  it.live("reports the state of its runner, also when it has stopped", () =>
    onMemory(
      Effect.gen(function* () {
        const projection = makeFailing()
        const states = Effect.map(snapshots, (all) =>
          all.flatMap(({ name, type, state, attributes }) =>
            name === "projection_state" && type === "Gauge" ? [[attributes?.state, state.value]] : []
          )
        )
        const counters = yield* Repository.of(Counter)
        yield* counters.execute(counter, Counter.Started())
        const runner = yield* ProjectionRunner.make(projection, { retry: Schedule.recurs(0) })
        yield* untilState(runner, "Live")
        assert.deepStrictEqual(Object.fromEntries(yield* states), { Starting: 0, Live: 1 })
        yield* counters.execute(counter, [Counter.Increased({ to: 1 }), Counter.Increased({ to: 2 })])
        assert.instanceOf(yield* Effect.flip(runner.join), EventSourcingError.ProjectionFailed)
        assert.deepInclude(Object.fromEntries(yield* states), { Starting: 0, Live: 0, Stopped: 1 })
      })
    ).pipe(Effect.provide(Logger.layer([])))
  )
})
