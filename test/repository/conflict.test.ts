/** Transactions that conflict with what others record in the meantime. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schedule, Stream } from "effect"
import type { MultiStreamAppend } from "effect-eventsourcing"
import { Repository } from "effect-eventsourcing"
import type { Log } from "../support/memoryLog.ts"
import { makeLog, open, withRecorder, yielding } from "../support/memoryLog.ts"
import type { Service } from "../support/purse.ts"
import { ada, bob, cleo, coinsOf, Purse, purses, transfer } from "../support/purse.ts"

describe("a conflict in a transaction", () => {
  /** A transfer of one coin; another process does something first, during the first of its decisions. */
  const overtaken = Effect.fnUntraced(function* <E>(
    log: Log,
    repository: Service,
    other: (repository: Service) => Effect.Effect<unknown, E, MultiStreamAppend.MultiStreamAppend>,
    times = 1
  ) {
    const there = (yield* open(log)).repository
    const seen: Array<readonly [number, number]> = []
    const run = repository
      .transaction({ from: Repository.existing(Purse, ada), to: Repository.existing(Purse, bob) }, ({ from, to }) =>
        Effect.gen(function* () {
          seen.push([from, to])
          if (seen.length <= times) yield* Effect.orDie(Effect.provideContext(other(there), log))
          return { from: Purse.Taken({ coins: 1 }), to: Purse.Put({ coins: 1 }) }
        })
      )
      .pipe(Effect.provideContext(log))
    return { run, seen }
  })

  it.effect("makes it retry the whole transaction, on consistent states", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const { run, seen } = yield* overtaken(log, repository, (there) => transfer(there, ada, bob, 4))
      const done = yield* run
      assert.deepStrictEqual(seen, [
        [10, 0],
        [6, 4]
      ])
      assert.deepInclude(done.from, { version: 2, state: 5 })
      assert.deepInclude(done.to, { version: 2, state: 5 })
    })
  )

  it.effect("is returned once the policy gives up, and nothing was recorded", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses({ conflictRetry: Schedule.recurs(2) })
      const { run, seen } = yield* overtaken(log, repository, (there) => transfer(there, ada, bob, 1), Infinity)
      const error = yield* Effect.flip(run)
      assert.strictEqual(error._tag, "WrongExpectedVersion")
      assert.strictEqual(seen.length, 3)
      // only the other process has recorded anything
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [7, 3])
    })
  )

  it.effect("also arises if a participant without events has moved on: no write skew", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const there = (yield* open(log)).repository
      // either may be emptied while the other has coins, but not both at once
      yield* Effect.provideContext(transfer(repository, ada, bob, 5), log)
      let decisions = 0
      const empty = (service: Service, id: typeof ada, other: typeof ada, meanwhile: Effect.Effect<unknown>) =>
        Effect.provideContext(
          service.transaction(
            { mine: Repository.existing(Purse, id), theirs: Repository.existing(Purse, other) },
            ({ mine, theirs }) =>
              Effect.gen(function* () {
                if (decisions++ === 0) yield* meanwhile
                return yield* theirs > 0
                  ? Effect.succeed({ mine: Purse.Taken({ coins: mine }) })
                  : Effect.fail("the last coins stay" as const)
              })
          ),
          log
        )
      const error = yield* Effect.flip(empty(repository, ada, bob, Effect.orDie(empty(there, bob, ada, Effect.void))))
      assert.strictEqual(error, "the last coins stay")
      assert.strictEqual(decisions, 3)
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [5, 0])
    })
  )

  it.effect.each(["an empty one", "a refusal"] as const)(
    "is detected by a decision that records nothing (%s), so that its result rests on consistent states",
    (kind) =>
      Effect.gen(function* () {
        const { log, repository } = yield* purses()
        const there = (yield* open(log)).repository
        const seen: Array<number> = []
        const auditing = repository
          .transaction({ ada: Repository.existing(Purse, ada), bob: Repository.existing(Purse, bob) }, ({ ada, bob }) =>
            Effect.gen(function* () {
              seen.push(ada + bob)
              if (seen.length === 1) {
                yield* Effect.orDie(there.of(Purse).execute(cleo, Purse.Opened({ coins: 1 })))
                yield* Effect.orDie(there.of(Purse).execute(Purse.Id.make("bob"), Purse.Put({ coins: 7 })))
              }
              return yield* kind === "a refusal" ? Effect.fail(ada + bob) : Effect.succeed({})
            })
          )
          .pipe(Effect.provideContext(log))
        const exit = yield* Effect.exit(auditing)
        assert.deepStrictEqual(seen, [10, 17])
        if (kind === "a refusal") return assert.deepStrictEqual(exit, Exit.fail(17))
        assert.isTrue(Exit.isSuccess(exit) && exit.value.bob.state === 7)
      })
  )

  it.effect("does not arise from other streams, which may grow", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const { run, seen } = yield* overtaken(log, repository, (there) =>
        there.of(Purse).execute(cleo, Purse.Opened({ coins: 1 }))
      )
      yield* run
      assert.strictEqual(seen.length, 1)
    })
  )

  it.effect("is also detected by an event that only inconsistent states would lead to", () =>
    Effect.gen(function* () {
      const { log: base } = yield* purses()
      const there = (yield* open(base)).repository
      let torn = false
      // another process works between the reads of two participants
      const log = withRecorder(base, (recorder) => ({
        readStream: (read) =>
          Effect.gen(function* () {
            if (read.stream === Purse.stream(bob) && !torn) {
              torn = true
              yield* Effect.orDie(Effect.provideContext(transfer(there, ada, bob, 4), base))
            }
            return yield* recorder.readStream(read)
          })
      }))
      const { repository } = yield* open(log, { conflictRetry: Schedule.recurs(5) })
      const done = yield* repository
        .transaction(
          { from: Repository.existing(Purse, ada), to: Repository.existing(Purse, bob) },
          ({ from, to }) => ({
            // there are ten coins at any time, so this is never negative
            to: Purse.Put({ coins: 10 - from - to })
          })
        )
        .pipe(Effect.provideContext(log))
      assert.deepInclude(done.to, { version: 2, state: 4 })
    })
  )

  it.live("never loses a coin, with many transfers in both directions by two processes", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const log = yielding(base)
      const processes = yield* Effect.all([open(log), open(log)])
      const ids = Array.from({ length: 4 }, (_, i) => Purse.Id.make(`${i}`))
      const { repository } = processes[0]
      yield* Effect.forEach(ids, (id) => repository.of(Purse).execute(id, Purse.Opened({ coins: 20 })))
      const transfers = Array.from({ length: 200 }, (_, i) => {
        const process = processes[i % 2] ?? processes[0]
        const from = ids[i % 4] ?? ada
        const to = ids[(i + 1 + (i % 3)) % 4] ?? bob
        return Effect.exit(transfer(process.repository, from, to, 1 + (i % 15)))
      })
      yield* Effect.all(transfers, { concurrency: 16, discard: true }).pipe(Effect.provideContext(log))
      const coins = yield* Effect.forEach(ids, (id) => coinsOf(repository, id))
      assert.strictEqual(
        coins.reduce((sum, one) => sum + one, 0),
        80
      )
      assert.isTrue(coins.every((one) => one >= 0))
      const events = yield* Stream.runCollect(processes[1].store.readAll([Purse]))
      // coins that are taken are put elsewhere, in one append: both or neither, side by side
      const moves = events.filter(({ event }) => event._tag !== "Opened").map(({ event }) => event)
      assert.isAbove(moves.length, 50)
      for (let i = 0; i < moves.length; i += 2) {
        assert.deepStrictEqual([moves[i]?._tag, moves[i + 1]?._tag], ["Taken", "Put"])
        assert.strictEqual(moves[i]?.coins, moves[i + 1]?.coins)
      }
    })
  )
})
