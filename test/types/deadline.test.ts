/** Mistakes in deadlines that do not compile, and the types of deadlines. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Context, DateTime, Effect } from "effect"
import type { LogReader, Repository, Subscription, View, ViewStore } from "effect-eventsourcing"
import { Deadline } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import type { Refused } from "../deadline/support/payment.ts"
import { dueOf, makeExpiry, Payment } from "../deadline/support/payment.ts"

class Rates extends Context.Service<Rates, { readonly eur: number }>()("test/Rates") {}

const types = (_: () => unknown) => {}

const inTables = Deadline.make("in_tables", { aggregate: Payment, due: dueOf, decide: () => Payment.Expired() })
const inMemory = makeExpiry("memory")

type ServicesOf<F> = F extends Effect.Effect<unknown, unknown, infer R> ? R : never

describe("the type of a deadline", () => {
  it("has what its decision may fail with, and where its index is", () => {
    expectTypeOf(inTables).toEqualTypeOf<Deadline.Deadline<never, View.Sql<never>>>()
    expectTypeOf(inMemory).toEqualTypeOf<Deadline.Deadline<Refused, View.AnyMemory>>()
    assert.strictEqual(inTables.index.name, "due_in_tables")
  })

  it("running it requires the log and the views, and no codecs of its own", () => {
    const run = () => Deadline.run(inTables)
    type Common = LogReader.LogReader | Subscription.Subscription | Repository.Repository
    expectTypeOf<ServicesOf<ReturnType<typeof run>>>().toEqualTypeOf<Common | ViewStore.SqlViewStore>()
    const other = () => Deadline.run(inMemory)
    expectTypeOf<ServicesOf<ReturnType<typeof other>>>().toEqualTypeOf<Common | ViewStore.MemoryViewStore>()
  })

  it("what fails is in the state", () => {
    type Failing = Extract<Deadline.State<Refused>, { readonly _tag: "Failing" }>
    expectTypeOf<Failing["failures"][number]["cause"]>().toEqualTypeOf<Refused | Deadline.DecideError>()
  })

  it("due and decide get the state, and decide also which aggregate it is", () => {
    Deadline.make("checked", {
      aggregate: Payment,
      due: (state) => {
        expectTypeOf(state.dueAt).toEqualTypeOf<number>()
        return DateTime.makeUnsafe(state.dueAt)
      },
      decide: (state, { id, version }) => {
        expectTypeOf(state.status).toEqualTypeOf<"awaiting" | "paid" | "expired">()
        expectTypeOf(id).toEqualTypeOf<ReturnType<typeof Payment.id>>()
        expectTypeOf(version).toEqualTypeOf<number>()
        return [Payment.Noted({ text: "late" }), Payment.Expired()]
      }
    })
  })
})

describe("what does not compile", () => {
  it("a due that is not a time", () => {
    types(() =>
      Deadline.make("wrong", {
        aggregate: Payment,
        // @ts-expect-error text is not a time
        due: () => "2030-01-01",
        decide: () => Payment.Expired()
      })
    )
    types(() =>
      Deadline.make("wrong", {
        aggregate: Payment,
        // @ts-expect-error a Date is changed in place
        due: () => new Date(),
        decide: () => Payment.Expired()
      })
    )
  })

  it("a decision that creates, or looks something up", () => {
    types(() =>
      Deadline.make("wrong", {
        aggregate: Payment,
        due: dueOf,
        // @ts-expect-error the aggregate exists
        decide: () => Payment.Requested({ dueAt: 1 })
      })
    )
    types(() =>
      Deadline.make("wrong", {
        aggregate: Payment,
        due: dueOf,
        // @ts-expect-error decisions are pure
        decide: () => Rates.use(({ eur }) => Effect.succeed(Payment.Noted({ text: `${eur}` })))
      })
    )
  })

  it("a deadline without a decision, or in another place", () => {
    // @ts-expect-error nothing is decided
    types(() => Deadline.make("wrong", { aggregate: Payment, due: dueOf }))
    // @ts-expect-error there is no such place
    types(() => Deadline.make("wrong", { aggregate: Payment, due: dueOf, decide: () => [], index: "cache" }))
  })

  it("an index in tables without a database for views", () => {
    const program = (_: Effect.Effect<unknown, unknown>) => {}
    types(() => program(Effect.provide(Deadline.run(inMemory), [MemoryLayer(), MemoryViews()])))
    types(() =>
      program(
        Effect.provide(Deadline.run(inTables), [SqliteLayer({ filename: "a.db" }), SqliteViews({ filename: "a.db" })])
      )
    )
    // @ts-expect-error SqlViewStore is missing
    types(() => program(Effect.provide(Deadline.run(inTables), [MemoryLayer(), MemoryViews()])))
  })
})

describe("a deadline", () => {
  it("is refused with an invalid name or version", () => {
    const rest = { aggregate: Payment, due: dueOf, decide: () => [] as never[] }
    for (const name of ["", "Expiry", "1st", "a".repeat(37), "expiry_v2"]) {
      assert.throws(() => Deadline.make(name, rest), /invalid .*name/)
    }
    assert.strictEqual(Deadline.make("a".repeat(36), rest).version, 1)
    assert.throws(() => Deadline.make("expiry", { ...rest, version: 0 }), /version must be a whole number/)
  })
})
