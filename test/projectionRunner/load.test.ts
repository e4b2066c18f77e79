/**
 * What waiting and being idle cost the databases: measured in statements, so that a slow machine makes no difference.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Exit, Layer, Scope as Scopes, Tracer } from "effect"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { Position, Projection, ProjectionRunner } from "effect-eventsourcing"
import { silent } from "../projection/support/harness.ts"
import { count, ignored, makeJournal, readJournal } from "../projection/support/journalView.ts"
import { untilState } from "../projection/support/runnerStates.ts"
import type { Views } from "../projection/support/viewKinds.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import { logs } from "../support/backends.ts"

type Services = EventSourcing.EventSourcing | Recorder.Recorder | Views

/** Counts the statements of clients of `effect/sql`. */
const countingTracer = () => {
  const sent = { count: 0 }
  const tracer = Tracer.make({
    span: (options) => {
      if (options.kind === "client" && options.name !== "sql.transaction") sent.count++
      return new Tracer.NativeSpan(options)
    }
  })
  return { sent, tracer }
}

const projections = (count: number) => Array.from({ length: count }, (_, i) => makeJournal("tables", { name: `p${i}` }))

describe.each(["SQLite", "PostgreSQL"] as const)("with log and views in %s", (name) => {
  const test = (
    title: string,
    run: (during: (seconds: number) => Effect.Effect<number>) => Effect.Effect<unknown, unknown, Services | Scope.Scope>
  ): void =>
    it.live(title, () =>
      Effect.gen(function* () {
        const { sent, tracer } = countingTracer()
        const during = Effect.fnUntraced(function* (seconds: number) {
          const before = sent.count
          yield* Effect.sleep(seconds * 1000)
          return sent.count - before
        })
        const place = Layer.merge(yield* logs[name] ?? Effect.die(name), yield* kinds[name].make)
        yield* Effect.scoped(run(during)).pipe(
          Effect.provide(Layer.merge(place, silent)),
          Effect.provideService(Tracer.Tracer, tracer)
        )
      })
    )

  test("any number of waiters cost one query at a time", (during) =>
    Effect.gen(function* () {
      const waited = projections(3)
      const last = yield* count("a")
      for (const projection of waited) yield* Effect.scoped(running(projection, last))
      const never = Position.Position.make(last + 1000n)
      const waiters = Effect.forEach(
        Array.from({ length: 60 }, (_, i) => waited[i % 3] as (typeof waited)[number]),
        (projection) => Effect.exit(Projection.wait(projection, never, { timeout: "3 seconds" })),
        { concurrency: "unbounded" }
      )
      yield* Effect.forkScoped(waiters, { startImmediately: true })
      // every 50 ms, for all three projections together
      assert.isAtMost(yield* during(2), 42)
    }))

  test("idle projections of a process share their queries", (during) =>
    Effect.gen(function* () {
      const idle = projections(20)
      const last = yield* count("a", 3)
      const runners = yield* Effect.forEach(idle, (projection) => ProjectionRunner.make(projection))
      for (const projection of idle) yield* Projection.wait(projection, last)
      for (const runner of runners) yield* untilState(runner, "Live")
      // per second: a check of the versions, the leases at a third of five seconds, the poll of the log; 20 each make
      // 60
      assert.isAtMost(yield* during(3), 24)
      // and they are as quick as before
      const next = yield* count("b")
      for (const projection of idle) yield* Projection.wait(projection, next)
      for (const projection of idle) assert.lengthOf(yield* readJournal(projection), 4)
    }))

  test("those on standby share them, too, and take over as before", (during) =>
    Effect.gen(function* () {
      const idle = projections(20)
      yield* count("a", 3)
      const scope = yield* Scopes.make()
      const others = yield* Effect.forEach(idle, (projection) =>
        Scopes.provide(ProjectionRunner.make(projection), scope)
      )
      for (const runner of others) yield* untilState(runner, "Live")
      const runners = yield* Effect.forEach(idle, (projection) => ProjectionRunner.make(projection))
      for (const runner of runners) yield* untilState(runner, "Standby")
      assert.isAtMost(yield* during(3), 40)
      yield* Scopes.close(scope, Exit.void)
      for (const runner of runners) yield* untilState(runner, "Live")
      const last = yield* ignored
      for (const projection of idle) yield* Projection.wait(projection, last)
    }))
})

/** Runs a projection up to a position. */
const running = (projection: ReturnType<typeof makeJournal>, position: Position.Position) =>
  Effect.andThen(ProjectionRunner.make(projection), Projection.wait(projection, position))
