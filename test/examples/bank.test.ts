import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Layer } from "effect"
import { Effect, Stream } from "effect"
import type { MultiStreamAppend, Repository } from "effect-eventsourcing"
import { EventSourcingError, EventStore } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Account, format, InvalidAmount, Overdraft } from "../../examples/bank/Account.ts"
import { makeBank } from "../../examples/bank/Bank.ts"
import { run, temporaryDirectory } from "./support/program.ts"

const bank = (args: ReadonlyArray<string>, cwd: string) => run("bank", args, { cwd })

/** The program's summary of its run. */
const read = (stdout: string) => {
  const numbers = (pattern: RegExp) => (pattern.exec(stdout) ?? []).slice(1).map(Number)
  return {
    opened: numbers(/(\d+) accounts are opened with 100.00 each, (\d+) were there/),
    before: numbers(/Before: (\S+) in all/),
    transfers: numbers(/(\d+) transfers at once: (\d+) made, (\d+) refused/),
    after: numbers(/After: +(\S+) in all, the same/),
    balances: [...stdout.matchAll(/^ {2}\w+ +(-?\d+\.\d\d)$/gm)].map(([, balance]) => Math.round(Number(balance) * 100))
  }
}

const assertSound = ({ after, balances, before, transfers }: ReturnType<typeof read>) => {
  assert.deepStrictEqual([before, after], [[1000], [1000]])
  assert.strictEqual(balances.length, 10)
  assert.strictEqual(
    balances.reduce((a, b) => a + b, 0),
    1000_00
  )
  assert.isTrue(balances.every((balance) => balance >= 0))
  const [all = 0, made = 0, refused = 0] = transfers
  assert.strictEqual(all, 200)
  assert.strictEqual(made + refused, 200)
  assert.isAbove(made, 0)
}

describe("bank, the program", () => {
  it.live("in memory each run starts empty", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      for (const { code, stderr, stdout } of [yield* bank([], cwd), yield* bank([], cwd)]) {
        assert.deepStrictEqual([code, stderr], [0, ""])
        const said = read(stdout)
        assert.deepStrictEqual(said.opened, [10, 0])
        assertSound(said)
      }
    })
  )

  it.live("on a file the second run continues with the accounts of the first", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const first = read((yield* bank(["--file", "bank.db"], cwd)).stdout)
      const second = read((yield* bank(["--file", "bank.db"], cwd)).stdout)
      assert.deepStrictEqual(
        [first.opened, second.opened],
        [
          [10, 0],
          [0, 10]
        ]
      )
      assertSound(first)
      assertSound(second)
    })
  )

  it.live("two of them on one file keep the total", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      yield* bank(["--file", "bank.db"], cwd)
      const runs = yield* Effect.replicateEffect(bank(["--file", "bank.db"], cwd), 2, { concurrency: 2 })
      for (const { code, stderr, stdout } of runs) {
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.deepStrictEqual(read(stdout).opened, [0, 10])
        assertSound(read(stdout))
      }
    })
  )
})

type Services = Repository.Repository | EventStore.EventStore | MultiStreamAppend.MultiStreamAppend

const onEachBackend = (
  name: string,
  test: (withLayer: Layer.Layer<Services, EventSourcingError.RecorderError>) => Effect.Effect<void, unknown>
) => {
  it.live(`${name} (memory)`, () => test(MemoryLayer()))
  it.live(`${name} (SQLite)`, () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* test(SqliteLayer({ filename: path.join(directory, "bank.db") }))
    })
  )
}

describe("bank, the application", () => {
  onEachBackend("refuses an overdraft and records nothing", (layer) =>
    Effect.gen(function* () {
      const { balances, open, transfer } = yield* makeBank
      yield* open("Ada", 10_00n)
      yield* open("Ben", 1n)
      const refused = yield* Effect.flip(transfer("Ada", "Ben", 10_01n))
      assert.deepStrictEqual(refused, new Overdraft({ owner: "Ada", balance: 10_00n, amount: 10_01n }))
      assert.strictEqual(refused.message, "Ada has 10.00 and can't send 10.01")
      assert.deepStrictEqual(yield* balances(["Ada", "Ben"]), [
        { owner: "Ada", balance: 10_00n },
        { owner: "Ben", balance: 1n }
      ])
      yield* transfer("Ada", "Ben", 10_00n)
      assert.deepStrictEqual(yield* balances(["Ada", "Ben"]), [
        { owner: "Ada", balance: 0n },
        { owner: "Ben", balance: 10_01n }
      ])
      const store = yield* EventStore.EventStore
      const events = yield* Stream.runCollect(store.readAll([Account]))
      assert.deepStrictEqual(
        events.map(({ event }) => event._tag),
        ["Opened", "Deposited", "Opened", "Deposited", "TransferSent", "TransferReceived"]
      )
    }).pipe(Effect.provide(layer))
  )

  onEachBackend("refuses an invalid transfer", (layer) =>
    Effect.gen(function* () {
      const { open, transfer } = yield* makeBank
      yield* open("Ada", 10_00n)
      yield* open("Ben", 10_00n)
      for (const amount of [0n, -1n, -10_00n]) {
        assert.deepStrictEqual(yield* Effect.flip(transfer("Ada", "Ben", amount)), new InvalidAmount({ amount }))
      }
      assert.instanceOf(yield* Effect.flip(transfer("Ada", "Ada", 1n)), EventSourcingError.DuplicateParticipant)
      assert.instanceOf(yield* Effect.flip(transfer("Ada", "Zoe", 1n)), EventSourcingError.AggregateNotFound)
      assert.instanceOf(yield* Effect.flip(open("Ada", 1n)), EventSourcingError.AggregateAlreadyExists)
      assert.instanceOf(yield* Effect.flip(open("Cleo", -1n)), EventSourcingError.EventNotEncodable)
    }).pipe(Effect.provide(layer))
  )

  onEachBackend("concurrent transfers leave no moment in which money is missing", (layer) =>
    Effect.gen(function* () {
      const owners = ["Ada", "Ben", "Cleo"]
      const { balances, open, transfer } = yield* makeBank
      yield* Effect.forEach(owners, (owner) => open(owner, 100n))
      const total = Effect.map(balances(owners), (all) => all.reduce((sum, { balance }) => sum + balance, 0n))
      const orders = Array.from({ length: 120 }, (_, i) => ({
        from: owners[i % 3] ?? "",
        to: owners[(i + 1 + (i % 2)) % 3] ?? "",
        amount: BigInt((i * 7) % 90) + 1n
      }))
      const outcomes = yield* Effect.forEach(
        orders,
        ({ from, to, amount }) =>
          Effect.all([
            transfer(from, to, amount).pipe(
              Effect.as(1),
              Effect.catchTag("Overdraft", () => Effect.succeed(0))
            ),
            total // read during other transfers
          ]),
        { concurrency: "unbounded" }
      )
      for (const [, seen] of outcomes) assert.strictEqual(seen, 300n)

      // the log agrees: both halves of a transfer are side by side, and no balance was ever below zero
      const store = yield* EventStore.EventStore
      const events = yield* Stream.runCollect(store.readAll([Account]))
      const transfers = events.slice(owners.length * 2)
      const made = outcomes.reduce((sum, [one]) => sum + one, 0)
      assert.isAbove(made, 0)
      assert.isBelow(made, orders.length)
      assert.strictEqual(transfers.length, made * 2)
      const held = new Map(owners.map((owner) => [owner, 100n]))
      for (let i = 0; i < transfers.length; i += 2) {
        const [sent, received] = [transfers[i]?.event, transfers[i + 1]?.event]
        if (sent?._tag !== "TransferSent" || received?._tag !== "TransferReceived") return assert.fail(`at ${i}`)
        assert.strictEqual(sent.amount, received.amount)
        const left = (held.get(received.from) ?? 0n) - sent.amount
        assert.isTrue(left >= 0n)
        held.set(received.from, left)
        held.set(sent.to, (held.get(sent.to) ?? 0n) + received.amount)
      }
      assert.deepStrictEqual(
        yield* balances(owners),
        owners.map((owner) => ({ owner, balance: held.get(owner) ?? -1n }))
      )
    }).pipe(Effect.provide(layer))
  )

  it("prints cents as people read them", () => {
    assert.deepStrictEqual([0n, 5n, 99n, 100n, 1234n, -5n, -1234n, 10n ** 20n].map(format), [
      "0.00",
      "0.05",
      "0.99",
      "1.00",
      "12.34",
      "-0.05",
      "-12.34",
      "1000000000000000000.00"
    ])
  })
})
