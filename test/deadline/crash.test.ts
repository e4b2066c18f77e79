/**
 * Two programs that run one deadline are killed over and over in the middle of their decisions.
 *
 * `CRASH_KILLS` sets the number of kills (default 5); `CRASH_SEED` repeats the choices of an earlier run.
 */
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Deferred, Effect, Fiber, Layer, Stream } from "effect"
import { EventStore, Repository } from "effect-eventsourcing"
import { newSchema, url } from "../postgres/support/database.ts"
import type { Database } from "../projection/support/databases.ts"
import { logOf, viewsOf } from "../projection/support/databases.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"
import * as Child from "../support/childProcess.ts"
import { eventually } from "../support/eventually.ts"
import { random } from "../support/random.ts"
import type { Line, Options } from "./support/expiryRunner.ts"
import { Payment } from "./support/payment.ts"

const kills = Number(process.env.CRASH_KILLS ?? 5)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

type Place = Pick<Options, "log" | "views">

const places: Readonly<Record<string, Effect.Effect<Place, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(Temporary.directory, (directory) => {
    const file = (name: string): Database => ({ backend: "sqlite", filename: Path.join(directory, name) })
    return { log: file("log.db"), views: file("views.db") }
  }),
  PostgreSQL: Effect.gen(function* () {
    const place = (schema: string): Database => ({ backend: "postgres", url: url(), schema })
    return { log: place(yield* newSchema), views: place(yield* newViewsSchema) }
  })
}

/** A runner in another process. */
interface Runner {
  /** The payments that it has begun to decide on. */
  readonly inHand: Array<string>
  readonly untilUp: Effect.Effect<void>
  /** The next time that it begins to decide on a payment. */
  readonly nextInHand: Effect.Effect<void>
  readonly kill: Effect.Effect<void>
}

const startRunner = (options: Options): Effect.Effect<Runner, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Child.start("deadline/support/expiryRunner.ts", JSON.stringify(options))
    const inHand: Array<string> = []
    let isUp = false
    let heard = Deferred.makeUnsafe<void>()
    const ended = Deferred.makeUnsafe<never>()
    const take = (line: Line) => {
      if (line._tag === "InHand") inHand.push(line.id)
      isUp ||= line._tag === "State" && line.state !== "Starting"
      const told = heard
      heard = Deferred.makeUnsafe()
      Deferred.doneUnsafe(told, Effect.void)
    }
    const reader = yield* child.line.pipe(
      Effect.flatMap((line) => Effect.sync(() => take(JSON.parse(line)))),
      Effect.forever,
      Effect.catchCause((cause) => Deferred.failCause(ended, cause)),
      Effect.forkScoped
    )
    const wait = (condition: () => boolean): Effect.Effect<void> =>
      Effect.suspend(() =>
        condition()
          ? Effect.void
          : Effect.flatMap(Effect.raceFirst(Deferred.await(heard), Deferred.await(ended)), () => wait(condition))
      )
    return {
      inHand,
      untilUp: wait(() => isUp),
      nextInHand: Effect.suspend(() => {
        const { length } = inHand
        return wait(() => inHand.length > length)
      }),
      kill: Effect.gen(function* () {
        // a runner that has ended on its own reports why
        if (Deferred.isDoneUnsafe(ended)) yield* Deferred.await(ended)
        assert.strictEqual(yield* child.kill, "SIGKILL")
        yield* Fiber.await(reader)
      })
    }
  })

/**
 * Requests payments that are due soon, and pays a third of them, in time or too late. Returns how many it has
 * requested.
 */
const writing = (next: () => number, isOver: () => boolean) =>
  Effect.gen(function* () {
    const payments = yield* Repository.of(Payment)
    let count = 0
    while (!isOver()) {
      const id = Payment.Id.make(`${count++}`)
      const now = yield* Clock.currentTimeMillis
      yield* payments.execute(id, Payment.Requested({ dueAt: Math.floor(now + next() * 1500 - 500) }))
      const paid = Payment.Id.make(`${Math.floor(next() * count)}`)
      if (count % 3 === 0) {
        yield* payments.execute(
          paid,
          Payment.decide(({ status }) => (status === "awaiting" ? Payment.Paid() : []))
        )
      }
      yield* Effect.sleep(next() * 15)
    }
    return count
  })

/** The outcome of each payment, and any outcome that must not occur. */
const count = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const dueAt = new Map<string, number>()
  const ends = new Map<string, Array<string>>()
  let early = 0
  for (const { aggregateId, event, recordedAt } of yield* Stream.runCollect(store.readAll([Payment]))) {
    if (event._tag === "Requested") dueAt.set(aggregateId, event.dueAt)
    else ends.set(aggregateId, [...(ends.get(aggregateId) ?? []), event._tag])
    if (event._tag === "Expired" && recordedAt.epochMilliseconds < (dueAt.get(aggregateId) ?? 0)) early++
  }
  const all = [...ends.values()]
  return {
    requested: dueAt.size,
    expired: all.filter(([end]) => end === "Expired").length,
    paid: all.filter(([end]) => end === "Paid").length,
    wrong: { doubled: all.filter(({ length }) => length > 1).length, missing: dueAt.size - ends.size, early }
  }
})

describe.each(Object.entries(places))("a deadline whose program is killed: %s", (name, makePlace) => {
  it.live(`T1 T2 with decisions in hand, beside another: each is recorded once (${kills} kills)`, () =>
    Effect.gen(function* () {
      console.log(`CRASH_SEED=${seed}`)
      const place = yield* makePlace
      const next = random(seed)
      let started = 0
      // every third one works without the lease: two runners decide at once
      const start = Effect.suspend(() => startRunner({ ...place, isGreedy: ++started % 3 === 0 }))
      const program = Effect.gen(function* () {
        const runners: [Runner, Runner] = [yield* start, yield* start]
        let isOver = false
        const writer = yield* Effect.forkScoped(writing(random(seed + 1), () => isOver))
        let both = 0
        const seen = new Set<string>()
        const note = ({ inHand }: Runner) => {
          for (const id of inHand) {
            if (seen.has(id)) both++
            seen.add(id)
          }
        }
        for (let kill = 1; kill <= kills; kill++) {
          for (const { untilUp } of runners) yield* untilUp
          let victim = Math.floor(next() * 2)
          const inHand = yield* Effect.raceFirst(
            Effect.as(runners[0].nextInHand, 0),
            Effect.as(runners[1].nextInHand, 1)
          )
          // every fifth one is killed whatever it is doing
          if (kill % 5 !== 0) victim = inHand
          yield* Effect.sleep(next() * 6)
          const killed = runners[victim] as Runner
          yield* killed.kill
          note(killed)
          runners[victim] = yield* start
        }
        isOver = true
        const requested = yield* Fiber.join(writer)
        yield* eventually(
          "all are expired or paid",
          Effect.map(count, ({ wrong }) => wrong.missing === 0)
        )
        for (const runner of runners) {
          yield* runner.kill
          note(runner)
        }
        const { wrong, ...found } = yield* count
        console.log(
          `${name}: ${kills} kills, ${JSON.stringify({ ...found, ...wrong })}, ${both} decided by two or again`
        )
        assert.deepStrictEqual(wrong, { doubled: 0, missing: 0, early: 0 }, `with CRASH_SEED=${seed}`)
        assert.strictEqual(found.requested, requested)
        assert.isAbove(found.expired, kills / 2)
      })
      yield* Effect.scoped(program).pipe(Effect.provide(Layer.merge(logOf(place.log), viewsOf(place.views))))
    })
  )
})
