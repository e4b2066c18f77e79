/** Views that are built from given events, in memory and in SQLite. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, DateTime, Effect, Exit, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import type { View } from "effect-eventsourcing"
import { Aggregate, Projection } from "effect-eventsourcing"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { ExpectationFailed, given, givenAll, stream } from "effect-eventsourcing/testing"
import { reportsOf } from "./fixtures/reports.ts"

const Dog = Aggregate.make("Dog", {
  state: Schema.Struct({ tricks: Schema.Int }),
  creation: { Registered: { name: Schema.String } },
  events: { TrickAdded: { trick: Schema.String }, Rested: {} },
  reduce: {
    Registered: () => ({ tricks: 0 }),
    TrickAdded: ({ tricks }) => ({ tricks: tricks + 1 }),
    Rested: (dog) => dog
  }
})
const Cat = Aggregate.make("Cat", {
  state: Schema.Int,
  creation: { Found: {} },
  events: {},
  reduce: { Found: () => 0 }
})

const [rex, fido] = [Dog.Id.make("rex"), Dog.Id.make("fido")]
const school = givenAll(
  stream(Dog, rex, Dog.Registered({ name: "Rex" }), Dog.TrickAdded({ trick: "sit" })),
  stream(Cat, Cat.Id.make("tom"), Cat.Found()),
  stream(Dog, fido, Dog.Registered({ name: "Fido" })).at("2026-01-02T00:00:00Z"),
  stream(Dog, rex, Dog.Rested(), Dog.TrickAdded({ trick: "stay" }))
)

const Tricks = Projection.make("tricks", {
  aggregates: [Dog],
  view: Projection.sql(
    ({ sql, table }) => sql`CREATE TABLE ${table("learnt")} (dog text, trick text, position integer)`
  ),
  handlers: {
    Dog: {
      Registered: Projection.ignore,
      Rested: Projection.ignore,
      TrickAdded: ({ aggregateId, event, position }, { sql, table }) =>
        event.trick === "bark"
          ? Effect.fail(new Error("dogs bark anyway"))
          : sql`INSERT INTO ${table("learnt")} VALUES (${aggregateId}, ${event.trick}, ${Number(position)})`
    }
  }
})
const memory = SqliteViews({ filename: ":memory:" })
const learnt = school.project(Tricks, memory)

const Days = Projection.make("days", {
  aggregates: [Dog, Cat],
  view: Projection.memory((): Readonly<Record<string, number>> => ({})),
  handlers: {
    Dog: {
      Registered: ({ recordedAt }, view) => {
        const day = DateTime.formatIsoDateUtc(recordedAt)
        return view.update((days) => ({ ...days, [day]: (days[day] ?? 0) + 1 }))
      },
      TrickAdded: Projection.ignore,
      Rested: Projection.ignore
    },
    Cat: { Found: (_event, view) => view.update((days) => ({ ...days, cats: (days.cats ?? 0) + 1 })) }
  }
})

const reportOf = reportsOf("projected.test.ts")

const GIVEN = `given
  Dog-rex: Registered {"name":"Rex"}
  Dog-rex: TrickAdded {"trick":"sit"}
  Cat-tom: Found
  Dog-fido: Registered {"name":"Fido"}
  Dog-rex: Rested
  Dog-rex: TrickAdded {"trick":"stay"}
`

describe("a view in SQLite", () => {
  it("has the rows that the events lead to", () => {
    learnt.thenRows(
      ({ sql, table }) => sql`SELECT * FROM ${table("learnt")} ORDER BY position`,
      [
        { dog: "rex", trick: "sit", position: 2 },
        { dog: "rex", trick: "stay", position: 6 }
      ]
    )
    learnt.thenRows(({ sql, table }) => sql`SELECT * FROM ${table("learnt")} WHERE dog = 'fido'`, [])
    // the result of a query on the rows
    learnt.thenRows(
      ({ sql, table }) =>
        Effect.map(sql<{ readonly n: number }>`SELECT count(*) AS n FROM ${table("learnt")}`, ([row]) => row?.n),
      2
    )
    givenAll()
      .project(Tricks, memory)
      .thenRows(({ sql, table }) => sql`SELECT * FROM ${table("learnt")}`, [])
    given(Dog, Dog.Registered({ name: "Rex" }), Dog.TrickAdded({ trick: "sit" }))
      .project(Tricks, memory)
      .thenRows(({ sql, table }) => sql`SELECT trick FROM ${table("learnt")}`, [{ trick: "sit" }])
  })

  it("shows the rows that differ", () => {
    assert.strictEqual(
      reportOf(() =>
        learnt.thenRows(
          ({ sql, table }) => sql`SELECT trick, position FROM ${table("learnt")}`,
          [
            { trick: "sit", position: 2 },
            { trick: "roll", position: 6 }
          ]
        )
      ),
      `projection "tricks": the rows differ from the expected ones (events handled one at a time)

${GIVEN}
difference (- expected, + came out)
  {
    "trick": "sit",
    "position": 2
  }
  {
-   "trick": "roll",
+   "trick": "stay",
    "position": 6
  }`
    )
  })

  it("shows the event that a handler fails on, a setup that fails, and a query that does", () => {
    const barking = given(Dog, Dog.Registered({ name: "Rex" }), Dog.TrickAdded({ trick: "bark" })).project(
      Tricks,
      memory
    )
    assert.strictEqual(
      reportOf(() => barking.thenRows(() => Effect.succeed(0), 0)),
      `projection "tricks": a handler failed: dogs bark anyway

given
  Dog-given: Registered {"name":"Rex"}
  Dog-given: TrickAdded {"trick":"bark"}

handled one at a time
  TrickAdded {"trick":"bark"}`
    )
    assert.match(
      reportOf(() => learnt.thenRows(({ sql }) => sql`SELECT * FROM nowhere`, [])),
      /^projection "tricks": the query of the view failed: no such table: nowhere\n/
    )
    const Broken = Projection.make("broken", {
      aggregates: [Cat],
      view: Projection.sql(({ sql }) => sql`CREATE TABEL a`),
      handlers: { Cat: { Found: Projection.ignore } }
    })
    assert.match(
      reportOf(() => school.project(Broken, memory).thenRows(() => Effect.succeed(0), 0)),
      /^projection "broken": the setup of the view failed: .*near "TABEL"/
    )
    const missing = school.project(Tricks, SqliteViews({ filename: "" }))
    assert.match(
      reportOf(() => missing.thenRows(() => Effect.succeed(0), 0)),
      /^projection "tricks": the layer of the views failed: /
    )
  })

  it("is built inline too, where events have no position", () => {
    const Names = Projection.make("names", {
      aggregates: [Dog],
      view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("names")} (name text, has_position integer)`),
      inline: true,
      handlers: {
        Dog: {
          Registered: (recorded, { sql, table }) =>
            sql`INSERT INTO ${table("names")} VALUES (${recorded.event.name}, ${"position" in recorded ? 1 : 0})`,
          TrickAdded: Projection.ignore,
          Rested: Projection.ignore
        }
      }
    })
    school.project(Names, memory).thenRows(
      ({ sql, table }) => sql`SELECT * FROM ${table("names")} ORDER BY name`,
      [
        { name: "Fido", has_position: 0 },
        { name: "Rex", has_position: 0 }
      ]
    )
  })
})

describe("a view in memory", () => {
  it("has the value that the events lead to", () => {
    school.project(Days).thenState({ "2000-01-01": 1, "2026-01-02": 1, cats: 1 })
    givenAll().project(Days).thenState({})
    assert.strictEqual(
      reportOf(() => given(Cat, Cat.Found()).project(Days).thenState({ cats: 2 })),
      `projection "days": the value differs from the expected one

given
  Cat-given: Found

difference (- expected, + came out)
- {"cats":2}
+ {"cats":1}`
    )
  })

  it("must be the same with one event at a time and with all in one batch", () => {
    const Last = Projection.batched("last", {
      aggregates: [Dog],
      view: Projection.memory(() => 0),
      // only the first event of a batch counts
      handle: ([{ version }], view) => view.update((sum) => sum + version)
    })
    assert.match(
      reportOf(() => school.project(Last).thenState(6)),
      /^projection "last": the value differs from the expected one \(events handled in one batch\)\n/
    )
    const Sum = Projection.batched("sum", {
      aggregates: [Dog],
      view: Projection.memory(() => 0),
      handle: (events, view) => view.update((sum) => events.reduce((n, { version }) => n + version, sum))
    })
    school.project(Sum).thenState(6)
  })

  it.effect("is built as an Effect by handlers that wait, or require services", () =>
    Effect.gen(function* () {
      class Weight extends Context.Service<Weight, number>()("test/Weight") {}
      const Weights = Projection.make("weights", {
        aggregates: [Cat],
        view: Projection.memory(() => 0),
        handlers: {
          Cat: {
            Found: (_event, view) =>
              Effect.gen(function* () {
                yield* Effect.sleep("1 hour")
                const weight = yield* Weight
                yield* view.update((sum) => sum + weight)
              })
          }
        }
      })
      const weighed = given(Cat, Cat.Found()).project(Weights)
      const test = (weight: number) =>
        Effect.gen(function* () {
          const fiber = yield* weighed
            .thenStateEffect(4)
            .pipe(Effect.provideService(Weight, weight), Effect.exit, Effect.forkChild({ startImmediately: true }))
          yield* TestClock.adjust("1 hour")
          return yield* Fiber.join(fiber)
        })
      assert.isTrue(Exit.isSuccess(yield* test(4)))
      const failed = yield* test(5)
      assert.isTrue(Exit.isFailure(failed) && Cause.squash(failed.cause) instanceof ExpectationFailed)

      const Slow = Projection.make("slow", {
        aggregates: [Cat],
        view: Projection.memory(() => 0),
        handlers: { Cat: { Found: () => Effect.sleep("1 hour") } }
      })
      assert.throws(
        () => given(Cat, Cat.Found()).project(Slow).thenState(0),
        /^the projection does not end at once: use thenStateEffect, which returns an Effect$/
      )
      const rows = ({ sql, table }: View.SqlView) => sql`SELECT trick FROM ${table("learnt")}`
      yield* learnt.thenRowsEffect(rows, [{ trick: "sit" }, { trick: "stay" }])
      assert.instanceOf(yield* Effect.flip(learnt.thenRowsEffect(rows, [])), ExpectationFailed)
    })
  )
})
