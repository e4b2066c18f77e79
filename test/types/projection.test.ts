/** What compiles of projections and what does not. `tsc` checks this file; at run time, it only calls what is valid. */
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { SqlClient } from "effect/sql"
import type { LogReader, Mapper, Position, Subscription, View, ViewStore } from "effect-eventsourcing"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Counter, Dog } from "../support/dog.ts"

const types = (_: () => unknown) => {}

class Rates extends Context.Service<Rates, { readonly eur: number }>()("test/Rates") {}

const tables = Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("t")} (n integer)`)
const { ignore } = Projection

const inMemory = Projection.make("in_memory", {
  aggregates: [Counter],
  view: Projection.memory(() => 0),
  handlers: {
    Counter: {
      Started: ignore,
      Increased: ({ event, position, stream, version, aggregateId }, view) => {
        expectTypeOf(event).toEqualTypeOf<{ readonly _tag: "Increased"; readonly to: number }>()
        expectTypeOf(position).toEqualTypeOf<Position.Position>()
        expectTypeOf(version).toEqualTypeOf<number>()
        expectTypeOf(aggregateId).toEqualTypeOf<ReturnType<typeof Counter.id>>()
        expectTypeOf(view).toEqualTypeOf<View.MemoryView<number>>()
        void stream
        return view.set(event.to)
      }
    }
  }
})

const inTables = Projection.make("in_tables", {
  aggregates: [Dog, Counter],
  view: tables,
  handlers: {
    Dog: {
      Registered: ({ event }, { sql, table }) => sql`INSERT INTO ${table("t")} VALUES (${event.name.length})`,
      TrickAdded: ({ event }) => Effect.flatMap(Rates, ({ eur }) => Effect.log(event.trick, eur)),
      Rested: () => Effect.asVoid(SqlClient.SqlClient)
    },
    Counter: { Started: ignore, Increased: ignore }
  }
})

const inline = Projection.make("inlined", {
  aggregates: [Dog],
  view: tables,
  inline: true,
  handlers: {
    Dog: {
      Registered: ({ event, stream, version }, { sql, table }) => {
        expectTypeOf(version).toEqualTypeOf<number>()
        return sql`INSERT INTO ${table("t")} VALUES (${event.name.length + stream.length})`
      },
      TrickAdded: ignore,
      Rested: ignore
    }
  }
})

describe("Projection.make", () => {
  it("requires a handler for each event, or ignore", () => {
    types(() => [
      Projection.make("missing", {
        aggregates: [Dog],
        view: tables,
        handlers: {
          // @ts-expect-error Rested is missing
          Dog: { Registered: ignore, TrickAdded: ignore }
        }
      }),
      Projection.make("missing", {
        aggregates: [Dog, Counter],
        view: tables,
        // @ts-expect-error Counter is missing
        handlers: { Dog: { Registered: ignore, TrickAdded: ignore, Rested: ignore } }
      }),
      Projection.make("no_effect", {
        aggregates: [Counter],
        view: tables,
        handlers: {
          Counter: {
            Started: ignore,
            // @ts-expect-error it is not an Effect
            Increased: () => 1
          }
        }
      }),
      Projection.make("misspelt", {
        aggregates: [Counter],
        view: tables,
        handlers: {
          Counter: {
            Started: ignore,
            Increased: ignore,
            // @ts-expect-error there is no such event
            Decreased: ignore
          }
        }
      }),
      Projection.make("misspelt", {
        aggregates: [Counter],
        view: tables,
        handlers: {
          Counter: { Started: ignore, Increased: ignore },
          // @ts-expect-error it is not one of its aggregates
          Dog: { Registered: ignore, TrickAdded: ignore, Rested: ignore }
        }
      }),
      // @ts-expect-error of nothing
      Projection.make("none", { aggregates: [], view: tables, handlers: {} })
    ])
  })

  it("passes events without a position if the projection is inline", () => {
    types(() =>
      Projection.make("positioned", {
        aggregates: [Counter],
        view: tables,
        inline: true,
        handlers: {
          Counter: {
            Started: ignore,
            // @ts-expect-error there is no position yet
            Increased: ({ position }) => Effect.log(position)
          }
        }
      })
    )
  })

  it("is inline in tables only", () => {
    types(() =>
      Projection.make("in_memory", {
        aggregates: [Counter],
        view: Projection.memory(() => 0),
        // @ts-expect-error the append's transaction does not belong to the views in memory
        inline: true,
        handlers: { Counter: { Started: ignore, Increased: ignore } }
      })
    )
  })

  it("passes batches of all events of its aggregates", () => {
    types(() =>
      Projection.batched("batched", {
        aggregates: [Counter, Dog],
        view: tables,
        handle: (events) => {
          for (const one of events) {
            if (one.aggregate === "Counter") expectTypeOf(one.event._tag).toEqualTypeOf<"Started" | "Increased">()
            else expectTypeOf(one.event._tag).toEqualTypeOf<"Registered" | "TrickAdded" | "Rested">()
          }
          return Effect.void
        }
      })
    )
  })

  it("passes a side effect the idempotency key and no view", () => {
    types(() =>
      Projection.atLeastOnce("mailer", {
        aggregates: [Counter],
        view: tables,
        handlers: {
          Counter: {
            Started: ignore,
            Increased: (_event, attempt) => {
              expectTypeOf(attempt).toEqualTypeOf<Projection.Attempt>()
              return Effect.void
            }
          }
        }
      })
    )
  })
})

describe("a runner", () => {
  it("requires the log, the place of the view, and the handlers' services, but not the view's client", () => {
    type ServicesOf<F> = F extends Effect.Effect<unknown, unknown, infer R> ? R : never
    type Log = LogReader.LogReader | Mapper.Mapper | Subscription.Subscription
    const run = () => ProjectionRunner.run(inTables)
    expectTypeOf<ServicesOf<ReturnType<typeof run>>>().toEqualTypeOf<Log | ViewStore.SqlViewStore | Rates>()
    const runInMemory = () => ProjectionRunner.run(inMemory)
    expectTypeOf<ServicesOf<ReturnType<typeof runInMemory>>>().toEqualTypeOf<Log | ViewStore.MemoryViewStore>()
  })

  it("is not for inline projections", () => {
    types(() => [
      // @ts-expect-error appends maintain it
      ProjectionRunner.run(inline),
      // @ts-expect-error raising its version rebuilds it
      Projection.reset(inline)
    ])
  })
})

describe("the option inline", () => {
  it("accepts inline projections into tables, on databases that support them", () => {
    types(() => [
      SqliteLayer({ filename: "x.db", inline: [inline] }),
      PostgresLayer({ url: "postgres://x", inline: [inline] }),
      // @ts-expect-error it is to be followed
      SqliteLayer({ filename: "x.db", inline: [inTables] }),
      // @ts-expect-error it is in memory
      SqliteLayer({ filename: "x.db", inline: [inMemory] }),
      // @ts-expect-error KurrentDB has no tables
      KurrentLayer({ connectionString: "kurrentdb://x", inline: [inline] }),
      // @ts-expect-error a log in memory has none either
      MemoryLayer({ inline: [inline] })
    ])
    const needy = () =>
      Projection.make("needy", {
        aggregates: [Counter],
        view: tables,
        inline: true,
        handlers: { Counter: { Started: ignore, Increased: () => Effect.asVoid(Rates) } }
      })
    types(() =>
      // @ts-expect-error a handler requires Rates, which an append does not have
      SqliteLayer({ filename: "x.db", inline: [needy()] })
    )
  })
})

describe("reading a view", () => {
  it("passes the type of the view", () => {
    types(() => [
      Projection.read(inMemory, (view) => {
        expectTypeOf(view).toEqualTypeOf<View.MemoryReader<number>>()
        return view.get
      }),
      Projection.read(inTables, (view) => {
        expectTypeOf(view).toEqualTypeOf<View.SqlView>()
        return view.sql`SELECT 1`
      }),
      // @ts-expect-error a reader changes nothing
      Projection.read(inMemory, (view) => view.set(1))
    ])
  })
})
