/**
 * A bank: `npm run example:bank` in memory, `npm run example:bank -- --file PATH` in a SQLite file, or with
 * `--postgres postgresql://user:password@host/database` in PostgreSQL, or with `--kurrent kurrentdb://host:2113?tls=false` on
 * KurrentDB (26.1 or later). Variables of the environment say the same: docs/configuration.md.
 *
 * Ten accounts, and 200 random transfers between them, all at once. Each transfer is one atomic append to two streams,
 * and one that would overdraw an account is refused: the total stays the same, to the cent.
 */
import { NodeRuntime } from "@effect/platform-node"
import { ConfigProvider, Console, Effect, Random } from "effect"
import { MultiStreamAppend } from "effect-eventsourcing"
import { ConfigLayer } from "effect-eventsourcing/config"
import { environment } from "../training-school/environment.ts"
import { format } from "./Account.ts"
import { makeBank } from "./Bank.ts"

const owners = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jo"]
const transfers = 200

const program = Effect.gen(function* () {
  const bank = yield* makeBank
  const total = Effect.map(bank.balances(owners), (all) => all.reduce((sum, { balance }) => sum + balance, 0n))

  const opened = yield* Effect.forEach(owners, (owner) =>
    bank.open(owner, 100_00n).pipe(
      Effect.as(true),
      Effect.catchTag("AggregateAlreadyExists", () => Effect.succeed(false))
    )
  )
  const fresh = opened.filter(Boolean).length
  yield* Console.log(`${fresh} accounts are opened with 100.00 each, ${owners.length - fresh} were there already.`)

  const before = yield* total
  yield* Console.log(`Before: ${format(before)} in all.`)

  const transfer = Effect.gen(function* () {
    const [sender = "", receiver = ""] = yield* Random.shuffle(owners)
    const cents = yield* Random.nextIntBetween(1, 90_00)
    yield* bank.transfer(sender, receiver, BigInt(cents))
  })
  const outcomes = yield* Effect.replicateEffect(
    transfer.pipe(Effect.catchTag("Overdraft", (overdraft) => Effect.succeed(overdraft))),
    transfers,
    { concurrency: "unbounded" }
  )
  const refused = outcomes.filter((outcome) => outcome !== undefined)
  yield* Console.log(`${transfers} transfers at once: ${transfers - refused.length} made, ${refused.length} refused.`)
  for (const { message } of refused.slice(0, 3)) yield* Console.log(`  refused: ${message}`)

  const after = yield* total
  yield* Console.log(`After:  ${format(after)} in all, ${after === before ? "the same" : "which is wrong"}.\n`)
  for (const { owner, balance } of yield* bank.balances(owners)) {
    yield* Console.log(`  ${owner.padEnd(5)}${format(balance).padStart(8)}`)
  }
})

const layer = ConfigLayer({
  persistence: "memory",
  requires: [MultiStreamAppend.MultiStreamAppend],
  postgres: { schema: "bank" },
  kurrent: { prefix: "bank." }
})

program.pipe(
  Effect.provide(layer),
  Effect.provideService(ConfigProvider.ConfigProvider, environment()),
  NodeRuntime.runMain
)
