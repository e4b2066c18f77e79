/** However events are cut into transactions, and whatever fails: the view is what the whole log produces. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schedule, Schema, Scope } from "effect"
import type { Ownership } from "effect-eventsourcing"
import { EventSourcingError, Projection, ProjectionRunner } from "effect-eventsourcing"
import { untilProcessed } from "../support/untilProcessed.ts"
import { inViews } from "./support/harness.ts"
import { count, ignored, readJournal, wholeLog } from "./support/journalView.ts"
import { kinds, watching } from "./support/viewKinds.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

/** A step of a random history. */
const Step = Schema.Struct({
  what: Schema.Literals([
    "append",
    "append",
    "append much",
    "ignored",
    "restart",
    "handler fails",
    "handler dies",
    "database fails",
    "answer is lost",
    "reset",
    "wait"
  ]),
  stream: Schema.Literals(["a", "b", "c"]),
  times: between(1, 5)
})

const Plan = Schema.Struct({
  maxBatch: between(1, 8),
  /** With two runners, both believe that they own the projection. */
  runners: between(1, 2),
  onFailure: Schema.Literals(["stop", "set-aside"]),
  steps: Schema.Array(Step).check(Schema.isMinLength(4), Schema.isMaxLength(14))
})

const no = Effect.fail("no")

/** Believes that it is the owner, whatever others do. */
const always: Ownership.Ownership = { whileOwner: (_key, self) => self }

const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "ask", reason: "not now" })

describe.each(Object.entries({ memory: { kind: kinds.memory, runs: 60 }, SQLite: { kind: kinds.SQLite, runs: 25 } }))(
  "a view in %s",
  (_, { kind, runs }) => {
    it.live.prop(
      "G6 is the fold of its log",
      [Plan],
      ([{ maxBatch, onFailure, runners, steps }]) => {
        const { transactions, layer } = watching()
        return inViews(
          kind,
          Effect.gen(function* () {
            const failures: Array<Effect.Effect<void, unknown>> = []
            const projection = kind.journal({ handled: () => failures.shift() ?? Effect.yieldNow })
            const ownership = runners === 2 ? { ownership: always } : {}
            const options = { maxBatch, onFailure, retry: Schedule.recurs(1), ...ownership }
            let scope = yield* Scope.make()
            const start = Effect.suspend(() =>
              Effect.replicateEffect(Scope.provide(ProjectionRunner.make(projection, options), scope), runners)
            )
            yield* start
            yield* Effect.addFinalizer(() => Effect.suspend(() => Scope.close(scope, Exit.void)))
            const restart = Effect.gen(function* () {
              yield* Scope.close(scope, Exit.void)
              scope = yield* Scope.make()
              yield* start
            })
            for (const { stream, times, what } of steps) {
              switch (what) {
                case "append":
                  yield* count(stream, times)
                  break
                case "append much":
                  yield* count(stream, 10 * times)
                  break
                case "ignored":
                  yield* ignored
                  break
                case "restart":
                  yield* restart
                  break
                case "handler fails":
                  // first with its batch; then, of those that are handled one by one, an event as often as it is tried
                  failures.push(no, ...Array.from({ length: times - 1 }, () => Effect.void), no, no)
                  break
                case "handler dies":
                  failures.push(Effect.die(new Error("no")))
                  break
                case "database fails":
                  transactions.instead.push(() => Effect.fail(unavailable) as Effect.Effect<never>)
                  break
                case "answer is lost":
                  transactions.instead.push((whole) =>
                    Effect.andThen(whole, Effect.fail(unavailable) as Effect.Effect<never>)
                  )
                  break
                case "reset":
                  // the runner may not have opened its view yet
                  yield* Effect.catchTag(Projection.reset(projection), "ViewNotFound", () => Effect.void)
                  break
                case "wait":
                  yield* Effect.ignore(Projection.wait(projection, yield* count(stream), { timeout: "5 millis" }))
              }
            }
            // failures that were planned and have not occurred do not apply to what follows
            failures.length = 0
            transactions.instead.length = 0
            yield* restart
            yield* untilProcessed(projection, yield* count("last"))
            yield* Projection.replay(projection)
            assert.deepStrictEqual(yield* Projection.deadLetters(projection), [])
            const byStream = (entries: ReadonlyArray<string>) =>
              Object.groupBy(entries, (entry) => entry.slice(0, entry.lastIndexOf(" ")))
            const [journal, log] = [yield* readJournal(projection), yield* wholeLog]
            // events that were set aside come later than others, but in the order of their stream
            assert.deepStrictEqual({ ...byStream(journal) }, { ...byStream(log) })
            if (onFailure === "stop") assert.deepStrictEqual(journal, log)
          }),
          layer
        )
      },
      { arbitrary: { runs } }
    )
  }
)
