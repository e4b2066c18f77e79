/** Several processes on one file. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { StoredEvent } from "effect-eventsourcing"
import { Recorder, Repository } from "effect-eventsourcing"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Protocol from "../support/remoteCalls.ts"
import { Account, deposit, freeze, manyWriters, storm, thaw, withdraw } from "./support/account.ts"
import * as Stored from "./support/inspectFile.ts"
import * as Temporary from "./support/temporaryFile.ts"
import type { WorkerCommands } from "./support/worker.ts"

const connect = Protocol.connect<WorkerCommands>("sqlite/support/worker.ts")

/** Other processes, ready for commands. */
const workers = (count: number) =>
  Effect.all(
    Array.from({ length: count }, () => connect),
    { concurrency: "unbounded" }
  )

/** Another process that has the file open. */
const workerOn = (filename: string) => Effect.tap(connect, (worker) => worker.call("open", filename))

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

describe("several processes on one file", () => {
  it.live("G2 G3 lose and duplicate nothing, and followers see all events in order", () =>
    Effect.gen(function* () {
      const times = 50
      const filename = yield* Temporary.file
      const others = yield* workers(3)
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const accounts = yield* Repository.of(Account)
        yield* Effect.forEach(others, (other) => other.call("open", filename), { concurrency: "unbounded" })
        const shared = ["shared 1", "shared 2"]
        const everybody = [...numbers(3).map((n) => `worker ${n}`), "test"]
        for (const name of [...shared, ...everybody]) {
          yield* accounts.execute(Account.id(name), Account.Opened({ owner: name }))
        }

        const end = Account.stream(Account.id("end"))
        const isEnd = ({ notifications }: Recorder.FollowBatch) => notifications.some(({ stream }) => stream === end)
        const follow = (options: Recorder.Follow) =>
          recorder.follow(options).pipe(
            Stream.takeUntil(isEnd),
            Stream.runFold(
              (): ReadonlyArray<StoredEvent.Notification> => [],
              (seen, { notifications }) => [...seen, ...notifications]
            )
          )
        const fromStart = yield* Effect.forkChild(follow({}), { startImmediately: true })
        const filtered = yield* Effect.forkChild(follow({ filter: { categories: ["Account"] } }))

        const decisions = yield* Effect.all(
          [
            ...others.map((other, n) =>
              other.call("storm", { names: [...shared, `worker ${n}`], times, by: `worker ${n}` })
            ),
            storm({ names: [...shared, "test"], times, by: "test" })
          ],
          { concurrency: "unbounded" }
        )
        const late = yield* Effect.forkChild(follow({}))
        const [first] = others
        yield* first?.call("openAccount", { name: "end", owner: "nobody" }) ?? Effect.die("no worker")

        // every deposit was made once, on whichever account
        const rows = yield* Stored.rows(filename)
        const deposits = rows
          .filter(({ type }) => type === "Account.Deposited")
          .map(({ stream, payload }) => `${stream} by ${JSON.parse(payload).by}`)
        const expected = everybody.flatMap((by) =>
          [...shared, by].flatMap((name) =>
            numbers(times).map((n) => `${Account.stream(Account.id(name))} by ${by} ${n}`)
          )
        )
        assert.deepStrictEqual([...deposits].sort(), expected.sort())
        assert.deepStrictEqual(yield* Stored.withConnection(filename, Stored.problems), [])
        for (const name of shared) {
          assert.strictEqual((yield* accounts.get(Account.id(name))).state.balance, 4 * times)
        }
        // and they did conflict with each other
        assert.isAbove(
          decisions.reduce((sum, n) => sum + n, 0),
          expected.length
        )

        const log = rows.map(({ position, id }) => [BigInt(position), id])
        for (const follower of [fromStart, filtered, late]) {
          const seen = yield* Fiber.join(follower)
          assert.deepStrictEqual(
            seen.map(({ position, id }) => [position, id]),
            log
          )
        }
      }).pipe(Effect.provide(SqliteLayer({ filename, pollInterval: "10 millis", ...manyWriters })))
    })
  )

  it.effect("a follower at the end notices another process's event when it polls", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const other = yield* workerOn(filename)
        const seen: Array<string> = []
        yield* recorder.follow({}).pipe(
          Stream.runForEach(({ notifications }) =>
            Effect.sync(() => {
              seen.push(...notifications.map(({ type }) => type))
            })
          ),
          Effect.forkChild
        )
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(seen, [])
        yield* other.call("openAccount", { name: "one", owner: "ada" })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(seen, [])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(seen, ["Account.Opened"])
        // and again, after it has slept
        yield* TestClock.adjust("1 minute")
        yield* other.call("deposit", { name: "one", amount: 1, by: "ada" })
        assert.strictEqual(seen.length, 1)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(seen, ["Account.Opened", "Account.Deposited"])
      }).pipe(Effect.provide(SqliteLayer({ filename, pollInterval: "2 seconds" })))
    })
  )

  it.live("ten processes that open a new file at the same time all succeed, on one log", () =>
    Effect.gen(function* () {
      const others = yield* workers(10)
      for (const round of numbers(4)) {
        const filename = yield* Temporary.file
        const moment = Date.now() + 50
        const logIds = yield* Effect.forEach(others, (other) => other.call("openAt", { filename, moment }), {
          concurrency: "unbounded"
        })
        assert.strictEqual(new Set(logIds).size, 1, `round ${round}`)
        const appends = others.map((other, n) => other.call("openAccount", { name: `${n}`, owner: "ada" }))
        yield* Effect.all(appends, { concurrency: "unbounded" })
        assert.strictEqual((yield* Stored.rows(filename)).length, 10)
        assert.deepStrictEqual(yield* Stored.withConnection(filename, Stored.problems), [])
      }
    })
  )

  it.live("exactly one of two wins each race for a name", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const others = yield* workers(2)
      yield* Effect.forEach(others, (other) => other.call("open", filename), { concurrency: "unbounded" })
      const names = numbers(200).map((n) => `name ${n}`)
      const won = yield* Effect.forEach(others, (other, n) => other.call("race", { names, owner: `worker ${n}` }), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(won.flat().sort(), [...names].sort())
      const owners = new Map(
        (yield* Stored.rows(filename)).map(({ stream, payload }) => [stream, JSON.parse(payload).owner])
      )
      won.forEach((names, n) => {
        for (const name of names) assert.strictEqual(owners.get(Account.stream(Account.id(name))), `worker ${n}`)
      })
    })
  )
})

describe("G11 a cache that another process has made stale", () => {
  const ada = Account.id("ada")

  /** Runs with an account of 10 in the cache and another process on the file. */
  const withStaleCache = (
    test: (
      accounts: Repository.AggregateRepository<typeof Account>,
      other: Protocol.Remote<WorkerCommands>
    ) => Effect.Effect<void, unknown, Repository.Repository>
  ) =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const accounts = yield* Repository.of(Account)
        yield* accounts.execute(ada, Account.Opened({ owner: "ada" }))
        yield* accounts.execute(ada, deposit(10, "ada"))
        yield* test(accounts, yield* workerOn(filename))
      }).pipe(Effect.provide(SqliteLayer({ filename })))
    })

  it.live("is not returned by `get`, unless a stale state is allowed", () =>
    withStaleCache((accounts, other) =>
      Effect.gen(function* () {
        yield* other.call("deposit", { name: "ada", amount: 5, by: "bob" })
        const stale = yield* accounts.get(ada, { allowStale: true })
        assert.deepStrictEqual([stale.version, stale.state.balance], [1, 10])
        const fresh = yield* accounts.get(ada)
        assert.deepStrictEqual([fresh.version, fresh.state.balance], [2, 15])
        // the read has updated the cache
        assert.strictEqual((yield* accounts.get(ada, { allowStale: true })).version, 2)
        assert.strictEqual((yield* accounts.get(ada, { version: 1 })).state.balance, 10)
      })
    )
  )

  it.live("does not lead to a refusal", () =>
    withStaleCache((accounts, other) =>
      Effect.gen(function* () {
        yield* other.call("deposit", { name: "ada", amount: 5, by: "bob" })
        const after = yield* accounts.execute(ada, withdraw(12, "ada"))
        assert.deepStrictEqual([after.version, after.state.balance], [3, 3])
        // the same for an aggregate that was missing
        assert.isFalse(yield* accounts.exists(Account.id("new")))
        yield* other.call("openAccount", { name: "new", owner: "bob" })
        assert.strictEqual((yield* accounts.execute(Account.id("new"), deposit(1, "ada"))).version, 1)
      })
    )
  )

  it.live("does not lead to a decision without events", () =>
    withStaleCache((accounts, other) =>
      Effect.gen(function* () {
        yield* accounts.execute(ada, freeze)
        yield* other.call("setFrozen", { name: "ada", frozen: false })
        const again = yield* accounts.execute(ada, freeze)
        assert.deepStrictEqual(
          again.events.map(({ event }) => event._tag),
          ["Frozen"]
        )
        assert.deepStrictEqual([again.version, again.state.frozen], [4, true])
        // nothing to do on fresh state either: that is the result, with the current state
        yield* other.call("deposit", { name: "ada", amount: 1, by: "bob" })
        const nothing = yield* accounts.execute(ada, freeze)
        assert.deepStrictEqual([nothing.version, nothing.state.balance, nothing.events], [5, 11, []])
        yield* other.call("setFrozen", { name: "ada", frozen: false })
        assert.deepStrictEqual((yield* accounts.execute(ada, thaw)).events, [])
      })
    )
  )

  it.live("does not lead to an append", () =>
    withStaleCache((accounts, other) =>
      Effect.gen(function* () {
        yield* other.call("withdraw", { name: "ada", amount: 8, by: "bob" })
        const error = yield* Effect.flip(accounts.execute(ada, withdraw(5, "ada")))
        assert.strictEqual(error._tag, "Overdrawn")
        assert.propertyVal(error, "balance", 2)
        assert.strictEqual((yield* accounts.get(ada)).version, 2)
        const refused = yield* Effect.flip(other.call("withdraw", { name: "ada", amount: 5, by: "bob" }))
        assert.strictEqual(refused._tag, "Overdrawn")
      })
    )
  )

  it.live("does not hide a conflict from a command with an expected version", () =>
    withStaleCache((accounts, other) =>
      Effect.gen(function* () {
        yield* other.call("deposit", { name: "ada", amount: 5, by: "bob" })
        const conflict = yield* Effect.flip(accounts.execute(ada, deposit(1, "ada"), { expectedVersion: 1 }))
        assert.deepInclude(conflict, { _tag: "WrongExpectedVersion", expected: 1, actual: 2 })
        const after = yield* accounts.execute(ada, deposit(1, "ada"), { expectedVersion: 2 })
        assert.deepStrictEqual([after.version, after.state.balance], [3, 16])
      })
    )
  )
})
