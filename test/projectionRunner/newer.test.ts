/** A rolling deployment: events of a newer program are handled by it, and never set aside by an older one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schedule, Schema, Scope } from "effect"
import { Aggregate, EventStore, Evolution, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { untilState } from "../projection/support/runnerStates.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

/** The counter of a newer program: with one more event, and a newer schema of another. */
const Newer = Aggregate.make("Counter", {
  state: Schema.Int,
  creation: { Started: {} },
  events: {
    Increased: Evolution.version(1, { to: Schema.Int }).version(2, { to: Schema.Int, by: Schema.String }, (v1) => ({
      ...v1,
      by: "nobody"
    })),
    Renamed: { name: Schema.String }
  },
  reduce: { Started: () => 0, Increased: (_count, { to }) => to, Renamed: (count) => count }
})

const view = Projection.sql(
  ({ sql, table }) => sql`CREATE TABLE ${table("seen")} (program text NOT NULL, version integer NOT NULL)`
)
const note =
  (program: string) =>
  ({ version }: { readonly version: number }, { sql, table }: Parameters<Parameters<typeof Projection.sql>[0]>[0]) =>
    sql`INSERT INTO ${table("seen")} VALUES (${program}, ${version})`
const older = Projection.make("seen", {
  aggregates: [Counter],
  view,
  handlers: { Counter: { Started: note("older"), Increased: note("older") } }
})
const newer = Projection.make("seen", {
  aggregates: [Newer],
  view,
  handlers: { Counter: { Started: note("newer"), Increased: note("newer"), Renamed: note("newer") } }
})

const written = {
  "of an unknown type": Newer.Renamed({ name: "b" }),
  "of a newer schema version": Newer.Increased({ to: 1, by: "me" })
}
const policies: Readonly<Record<string, ProjectionRunner.Options>> = {
  "sets events aside": { onFailure: "set-aside", retry: Schedule.recurs(0) },
  "tries without end": { retry: Schedule.spaced("10 millis") },
  stops: { onFailure: "stop", retry: Schedule.recurs(0) }
}

describe.concurrent.each(Object.entries({ SQLite: kinds.SQLite, PostgreSQL: kinds.PostgreSQL }))(
  "programs of two versions with a view in %s",
  (_, kind) => {
    for (const [which, event] of Object.entries(written)) {
      for (const [policy, options] of Object.entries(policies)) {
        it.live(`G8 a runner that ${policy} leaves an event ${which} to a newer program on standby`, () =>
          Effect.gen(function* () {
            const place = yield* kind.make
            const log = yield* Layer.build(MemoryLayer())
            yield* Effect.gen(function* () {
              const processOf = Layer.build(Layer.fresh(place))
              const [one, two] = [yield* processOf, yield* processOf]
              const scope = yield* Scope.fork(yield* Effect.scope)
              const old = yield* Effect.provide(
                ProjectionRunner.make(older, { lease: "1 second", ...options }),
                one
              ).pipe(Scope.provide(scope))
              yield* untilState(old, "Live")
              const young = yield* Effect.provide(ProjectionRunner.make(newer, { lease: "1 second" }), two)
              yield* untilState(young, "Standby")
              const store = yield* EventStore.EventStore
              const recorded = yield* store.append(Newer, Newer.Id.make("a"), {
                expected: "NoStream",
                events: [Newer.Started(), event]
              })
              yield* Effect.provide(untilProcessed(newer, recorded?.position), two)
              yield* untilState(young, "Live")
              const seen = Projection.read(newer, ({ sql, table }) => sql`SELECT * FROM ${table("seen")}`)
              assert.deepStrictEqual(yield* Effect.provide(seen, two), [
                { program: "older", version: 0 },
                { program: "newer", version: 1 }
              ])
              assert.deepStrictEqual(yield* Effect.provide(Projection.deadLetters(newer), two), [])
              if (policy === "stops") {
                assert.include((yield* untilState(old, "Stopped")).error, { _tag: "ProjectionFailed", attempts: 1 })
              } else yield* untilState(old, "Standby")
            }).pipe(Effect.provide(log))
          }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
        )
      }
    }

    it.live("G12 if there is no newer program, the runner names the event that it does not know", () =>
      Effect.gen(function* () {
        const place = yield* kind.make
        yield* Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(older, { onFailure: "set-aside", retry: Schedule.recurs(0) })
          const store = yield* EventStore.EventStore
          const recorded = yield* store.append(Newer, Newer.Id.make("a"), {
            expected: "NoStream",
            events: [Newer.Started(), Newer.Renamed({ name: "b" })]
          })
          const blocked = yield* untilState(runner, "Blocked")
          assert.include(blocked.event, { stream: "Counter-a", version: 1, type: "Counter.Renamed" })
          assert.include(blocked.cause, { _tag: "UnknownEventType" })
          const behind = yield* Effect.flip(Projection.wait(older, recorded?.position, { timeout: 0 }))
          assert.include(behind.message, "was written by a newer version of the program")
          assert.deepStrictEqual(yield* Projection.deadLetters(older), [])
        }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(MemoryLayer(), place, Logger.layer([]))))
      }).pipe(Effect.scoped)
    )
  }
)
