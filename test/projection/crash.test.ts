/**
 * Processes that run a projection are killed and paused in the middle of a batch, and others continue in their place.
 *
 * `CRASH_KILLS` sets the number of kills (default 10); `CRASH_SEED` repeats the choices of an earlier run.
 */
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Effect, Fiber, Layer, Schedule, Semaphore } from "effect"
import type { Aggregate, Position } from "effect-eventsourcing"
import { EventStore } from "effect-eventsourcing"
import { newSchema, url } from "../postgres/support/database.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"
import { random } from "../support/random.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Database } from "./support/databases.ts"
import { logOf, viewsOf } from "./support/databases.ts"
import type { Runner } from "./support/startRunner.ts"
import { startRunner } from "./support/startRunner.ts"
import type { Options } from "./support/sumsRunner.ts"
import { Ledger, makeByLog, readView, sums } from "./support/sumsView.ts"

const kills = Number(process.env.CRASH_KILLS ?? 10)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

/** A log and the place of its views. */
type Place = Pick<Options, "log" | "views">

const sqlite = (directory: string, name: string): Database => ({
  backend: "sqlite",
  filename: Path.join(directory, name)
})

const places: Readonly<Record<string, Effect.Effect<Place, unknown, Scope.Scope>>> = {
  "SQLite, log and view in one file": Effect.map(Temporary.directory, (directory) => ({
    log: sqlite(directory, "all.db"),
    views: sqlite(directory, "all.db")
  })),
  "SQLite, log and view in two files": Effect.map(Temporary.directory, (directory) => ({
    log: sqlite(directory, "log.db"),
    views: sqlite(directory, "views.db")
  })),
  PostgreSQL: Effect.gen(function* () {
    const place = (schema: string): Database => ({ backend: "postgres", url: url(), schema })
    return { log: place(yield* newSchema), views: place(yield* newViewsSchema) }
  })
}

const layerOf = ({ log, views }: Place) => Layer.merge(logOf(log), viewsOf(views))

/** A program that runs on a place, in this process. */
const on =
  <A, E, R>(makePlace: Effect.Effect<Place, unknown, Scope.Scope>, program: (place: Place) => Effect.Effect<A, E, R>) =>
  () =>
    Effect.flatMap(makePlace, (place) => Effect.scoped(program(place)).pipe(Effect.provide(layerOf(place))))

/** Appends to some streams, old and new ones; returns the position of the last event. */
const makeWriter = (next: () => number, notes = 0) => {
  const versions = new Map<string, number>()
  let booked = 0
  return {
    /** How many events with an amount were acknowledged. */
    booked: () => booked,
    write: Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const name = `ledger ${Math.floor(next() * 12 + versions.size / 20)}`
      const version = versions.get(name)
      const size = 1 + Math.floor(next() * 4)
      const events = Array.from({ length: size }, (_, i): Aggregate.Event<typeof Ledger> => {
        const amount = 1 + Math.floor(next() * 1000)
        if (version === undefined && i === 0) return Ledger.Opened({ amount })
        return next() < notes ? Ledger.Noted() : Ledger.Booked({ amount })
      })
      const recorded = yield* store.append(Ledger, Ledger.id(name), { expected: version ?? "NoStream", events })
      if (recorded === undefined) throw new Error("an append without events")
      versions.set(name, (version ?? -1) + size)
      booked += events.filter(({ _tag }) => _tag !== "Noted").length
      return recorded.position
    })
  }
}

/** Compares the view with the log, both as they are at the position of the view. */
const makeChecks = Effect.fnUntraced(function* ({ views }: Place) {
  const byLog = makeByLog()
  const oneCheck = yield* Semaphore.make(1)
  let last: bigint | undefined
  let checkpoints = 0
  return {
    events: byLog.events,
    checkpoints: () => checkpoints,
    /** Returns the position. */
    check: oneCheck.withPermit(
      Effect.gen(function* () {
        const view = yield* readView(views)
        const { position = -1n } = view
        assert.isTrue(last === undefined || position >= last, `the tracking went back from ${last} to ${position}`)
        if (position !== last) checkpoints++
        last = position
        assert.deepStrictEqual(view, yield* byLog.upTo(view.position), `with CRASH_SEED=${seed}`)
        return position
      })
    )
  }
})

/** Kills one of two processes: the other processes later events, if necessary once the lease has expired. */
const killAndTakeOver = Effect.fnUntraced(function* <R>(options: {
  readonly killed: Runner
  readonly other: Runner
  readonly write: Effect.Effect<Position.Position, unknown, R>
}) {
  const { killed, other, write } = options
  yield* other.until("it works or stands by", ({ states }) => states.some((state) => state !== "Starting"))
  yield* killed.kill
  const position = yield* write
  yield* untilProcessed(sums(), position)
  yield* other.until("it has had the last event in hand", ({ inHand }) => inHand.includes(position))
})

describe.each(Object.entries(places))("a projection whose process is killed: %s", (name, makePlace) => {
  it.live(
    `G6 in the middle of a batch, beside another: each event takes effect once (${kills} kills)`,
    on(makePlace, (place) =>
      Effect.gen(function* () {
        console.log(`CRASH_SEED=${seed}`)
        const next = random(seed)
        let started = 0
        // every third one works without the lease: two runners process the same batch at once
        const start = Effect.suspend(() =>
          startRunner({ ...place, lease: ++started % 3 === 0 ? "none" : 300, handling: 12 })
        )
        const first = yield* start
        yield* first.until("the view is there", ({ states }) => states.includes("Live"))
        const runners: [Runner, Runner] = [first, yield* start]
        const isRunning = ({ states }: Runner["reported"]) => states.some((state) => state !== "Starting")

        const pace = random(seed + 1)
        const writer = makeWriter(random(seed + 2), 0.1)
        let hasKilledAll = false
        const writing = yield* Effect.suspend(() => Effect.andThen(writer.write, Effect.sleep(pace() * 50))).pipe(
          Effect.repeat({ until: () => hasKilledAll }),
          Effect.forkScoped
        )
        const { check, checkpoints, events } = yield* makeChecks(place)
        const checking = Effect.repeat(check, Schedule.spaced("25 millis"))

        let withBatch = 0
        let conflicts = 0
        const killing = Effect.gen(function* () {
          for (let kill = 1; kill <= kills; kill++) {
            for (const runner of runners) yield* runner.until("both run", isRunning)
            let victim = Math.floor(next() * 2)
            const inHand = Effect.raceFirst(Effect.as(runners[0].nextInHand, 0), Effect.as(runners[1].nextInHand, 1))
            for (let event = Math.floor(next() * 5); event >= 0; event--) {
              const runner = yield* inHand
              // every fifth one is killed whatever it is doing
              if (kill % 5 !== 0) victim = runner
            }
            yield* Effect.sleep(next() * 4)
            const killed = runners[victim] as Runner
            const { inHand: inOther } = (runners[1 - victim] as Runner).reported
            const before = inOther.length
            yield* killed.kill
            const { position = -1n } = yield* readView(place.views)
            const last = killed.reported.inHand.at(-1) ?? -1n
            // not committed when it was killed: not yet by now, or by the other runner, which began it only after that
            if (last > position || inOther.slice(before).includes(last)) withBatch++
            conflicts += killed.reported.conflicts
            yield* check
            runners[victim] = yield* start
          }
        })
        const working = Effect.andThen(
          killing,
          Effect.gen(function* () {
            hasKilledAll = true
            yield* Fiber.join(writing)
          })
        )
        yield* Effect.raceFirst(working, Effect.andThen(checking, Effect.never))

        const { head } = yield* EventStore.EventStore
        yield* untilProcessed(sums(), yield* head)
        assert.strictEqual(yield* check, yield* head)
        assert.strictEqual(events(), writer.booked())
        for (const runner of runners) {
          yield* runner.kill
          conflicts += runner.reported.conflicts
        }
        console.log(
          `${name}: ${kills} kills, ${withBatch} with a batch in hand, ${conflicts} conflicts, ${events()} events, view equals the log at ${checkpoints()} checkpoints`
        )
        assert.isAbove(withBatch, kills / 4)
        assert.isAbove(conflicts, 0)
      })
    )
  )

  it.live(
    "G6 another process takes over when the lease has expired, and not before",
    on(makePlace, (place) =>
      Effect.gen(function* () {
        const { check } = yield* makeChecks(place)
        const { write } = makeWriter(random(seed))
        // a slow machine has to renew it in time
        const lease = 2000
        const start = startRunner({ ...place, lease, handling: 0 })
        const first = yield* start
        yield* first.until("it works", ({ states }) => states.includes("Live"))
        const second = yield* start
        yield* second.until("it stands by", ({ states }) => states.includes("Standby"))
        // longer than a lease that is not renewed
        const began = yield* Clock.currentTimeMillis
        while ((yield* Clock.currentTimeMillis) - began < 1.2 * lease) {
          yield* untilProcessed(sums(), yield* write)
          yield* check
        }
        assert.strictEqual(second.reported.states.at(-1), "Standby")
        assert.deepStrictEqual(second.reported.inHand, [])

        yield* first.kill
        yield* untilProcessed(sums(), yield* write)
        yield* check
        yield* killAndTakeOver({ killed: second, other: yield* start, write })
        yield* check
      })
    )
  )

  it.live(
    "G6 paused for longer than its lease before a batch, it can't commit what another has taken over",
    on(makePlace, (place) =>
      Effect.gen(function* () {
        const { check } = yield* makeChecks(place)
        const { write } = makeWriter(random(seed))
        const lease = 300
        const paused = yield* startRunner({ ...place, lease, handling: 0, pause: "before" })
        yield* paused.until("it works", ({ states }) => states.includes("Live"))
        yield* untilProcessed(sums(), yield* write)
        yield* write
        yield* paused.until("it pauses", ({ isPausing }) => isPausing)

        const other = yield* startRunner({ ...place, lease, handling: 0 })
        yield* untilProcessed(sums(), yield* write)
        yield* untilProcessed(sums(), yield* write)
        const position = yield* check

        const before = paused.reported.inHand.length
        yield* paused.resume
        yield* paused.until("it has tried to commit its batch", ({ outcome }) => outcome !== undefined)
        assert.strictEqual(paused.reported.outcome, "TrackingConflict")
        assert.strictEqual(paused.reported.inHand.length, before, "its handlers ran")
        assert.strictEqual(yield* check, position)

        yield* killAndTakeOver({ killed: other, other: paused, write })
        yield* check
      })
    )
  )

  it.live(
    "G6 paused for longer than its lease within a transaction, it commits all of it or nothing",
    on(makePlace, (place) =>
      Effect.gen(function* () {
        const { check } = yield* makeChecks(place)
        const { write } = makeWriter(random(seed))
        const lease = 300
        const paused = yield* startRunner({ ...place, lease, handling: 0, pause: "within" })
        yield* paused.until("it works", ({ states }) => states.includes("Live"))
        const first = yield* write
        yield* untilProcessed(sums(), first)
        const other = yield* startRunner({ ...place, lease, handling: 0 })
        yield* other.until("it stands by", ({ states }) => states.includes("Standby"))
        yield* write
        yield* paused.until("it pauses", ({ isPausing }) => isPausing)

        // the other gets as far as it can without the lock that the transaction holds: on a row, or on the file
        yield* Effect.sleep(2 * lease)
        assert.strictEqual(yield* check, first)
        yield* paused.resume
        yield* paused.until("its batch is committed or not", ({ outcome }) => outcome !== undefined)
        yield* untilProcessed(sums(), yield* write)
        yield* check

        yield* killAndTakeOver({ killed: other, other: paused, write })
        yield* check
      })
    )
  )
})
