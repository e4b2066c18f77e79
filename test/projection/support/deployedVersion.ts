/**
 * A program of one version of a view, as it is deployed: it runs the projection, and obeys commands in lines of JSON,
 * with one line of response for each.
 */
import * as Readline from "node:readline"
import { Effect, Layer, References, Schema, Stream, SubscriptionRef } from "effect"
import type { View } from "effect-eventsourcing"
import { Aggregate, EventStore, Position, Projection, ProjectionRunner } from "effect-eventsourcing"
import { untilProcessed } from "../../support/untilProcessed.ts"
import type { Database } from "./databases.ts"
import { logOf, viewsOf } from "./databases.ts"

/** The arguments that the program is started with. */
export interface Options {
  readonly database: Database
  readonly version: 1 | 2
  /** Whether it runs the projection, or only reads it. */
  readonly runs: boolean
}

/** The commands. */
export type Command =
  /** Appends an event, and reports its position. */
  | { readonly _tag: "Append" }
  /** Reports what its reader gets, once the view has reached a position, if one is given. */
  | { readonly _tag: "Read"; readonly position?: string }
  /** Reports the versions of the projection: `1 retired`. */
  | { readonly _tag: "Versions" }
  /** Removes a version. */
  | { readonly _tag: "Remove"; readonly version: number }
  /** Reports the state of its runner, once that has reached one of these. */
  | { readonly _tag: "Until"; readonly states: ReadonlyArray<string> }

const Item = Aggregate.make("Item", {
  state: Schema.Int,
  creation: { Made: {} },
  events: { Bumped: {} },
  reduce: { Made: () => 0, Bumped: (n) => n + 1 }
})

// the same numbers, in tables that have nothing in common
const One = Projection.make("items", {
  aggregates: [Item],
  view: Projection.sql(
    ({ sql, table }) => sql`CREATE TABLE ${table("totals")} (id text PRIMARY KEY, n integer NOT NULL)`
  ),
  handlers: {
    Item: {
      Made: ({ aggregateId }, { sql, table }) => sql`INSERT INTO ${table("totals")} VALUES (${aggregateId}, 0)`,
      Bumped: ({ aggregateId }, { sql, table }) =>
        sql`UPDATE ${table("totals")} SET n = n + 1 WHERE id = ${aggregateId}`
    }
  }
})
const Two = Projection.make("items", {
  version: 2,
  aggregates: [Item],
  view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("bumps")} (item text NOT NULL)`),
  handlers: {
    Item: {
      Made: Projection.ignore,
      Bumped: ({ aggregateId }, { sql, table }) => sql`INSERT INTO ${table("bumps")} VALUES (${aggregateId})`
    }
  }
})

const { database, version, runs } = JSON.parse(process.argv[2] ?? "") as Options
const Deployed = version === 1 ? One : Two

// version 1 was written when there was no other; version 2 knows both
const totals = ({ sql, table }: View.SqlView) => sql<{ readonly n: number }>`SELECT n FROM ${table("totals")}`
const read =
  version === 1
    ? Projection.read(One, totals)
    : Projection.read(Two, (view) => {
        const { sql, table, version } = view
        return version === 1 ? totals(view) : sql<{ readonly n: number }>`SELECT count(*) AS n FROM ${table("bumps")}`
      })

const append = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const id = Item.id("one")
  const version = yield* store.version(Item.stream(id))
  const recorded = yield* store.append(Item, id, {
    expected: version ?? "NoStream",
    events: [version === undefined ? Item.Made() : Item.Bumped()]
  })
  return String(recorded?.position)
})

const program = Effect.gen(function* () {
  const runner = runs ? yield* ProjectionRunner.make(Deployed, { lease: "1 second" }) : undefined
  const run = (command: Command): Effect.Effect<unknown, unknown, Effect.Services<typeof append | typeof read>> => {
    switch (command._tag) {
      case "Append":
        return append
      case "Read": {
        const position = command.position === undefined ? undefined : Position.Position.make(BigInt(command.position))
        return untilProcessed(Deployed, position).pipe(
          Effect.andThen(read),
          Effect.map(([row]) => Number(row?.n))
        )
      }
      case "Versions":
        return Effect.map(Projection.versions(Deployed), (all) =>
          all.map(({ status, version }) => `${version} ${status}`)
        )
      case "Remove":
        return Projection.remove(Deployed, command.version)
      case "Until":
        return runner === undefined
          ? Effect.succeed("none")
          : SubscriptionRef.changes(runner.state).pipe(
              Stream.map((state) =>
                state._tag === "Stopped" && state.error !== "interrupted" ? state.error._tag : state._tag
              ),
              Stream.filter((state) => command.states.includes(state)),
              Stream.runHead,
              Effect.flatMap(Effect.fromOption)
            )
    }
  }
  const lines = Stream.fromAsyncIterable(Readline.createInterface({ input: process.stdin }), String)
  yield* Stream.runForEach(lines, (line) =>
    run(JSON.parse(line)).pipe(
      Effect.catchCause((cause) => Effect.succeed({ failed: String(cause).split("\n")[0] })),
      Effect.map((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`))
    )
  )
})

await Effect.runPromise(
  program.pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(logOf(database), viewsOf(database))),
    Effect.provideService(References.MinimumLogLevel, "None")
  )
)
process.exit()
