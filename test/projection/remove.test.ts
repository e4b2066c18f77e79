/**
 * Projections that are no longer needed: removed with everything of theirs, and not created again by a running runner.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect } from "effect"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Services } from "./support/harness.ts"
import { inViews } from "./support/harness.ts"
import { count, readJournal, wholeLog } from "./support/journalView.ts"
import { until, untilState } from "./support/runnerStates.ts"
import type { Kind } from "./support/viewKinds.ts"
import { kinds } from "./support/viewKinds.ts"

describe.concurrent.each(Object.entries(kinds))("removing a projection in %s", (name, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  test("all of its versions are removed, and their runners, working or on standby, stop and do not create them again", ({
    journal
  }) =>
    Effect.gen(function* () {
      yield* count("a", 2)
      const old = yield* ProjectionRunner.make(journal())
      yield* untilState(old, "Live")
      const next = yield* ProjectionRunner.make(journal({ version: 2 }))
      yield* untilState(next, "Live")
      const standby = yield* ProjectionRunner.make(journal({ version: 2 }), { lease: "100 millis" })
      yield* untilState(standby, "Standby")
      assert.isTrue(yield* Projection.remove(journal()))
      assert.include(yield* Effect.flip(next.join), { _tag: "ProjectionRemoved", projection: "journal", version: 2 })
      assert.include(yield* Effect.flip(standby.join), { _tag: "ProjectionRemoved", version: 2 })
      assert.deepStrictEqual(yield* Projection.versions(journal()), [])
      assert.isFalse(yield* Projection.remove(journal()))
      // a program that needs it after all
      yield* Projection.wait(journal(), yield* count("a"), { timeout: 0 }).pipe(Effect.flip)
      yield* ProjectionRunner.make(journal())
      yield* until(Effect.map(Projection.versions(journal()), ([one]) => one?.position !== undefined))
      assert.deepStrictEqual(yield* readJournal(journal()), yield* wholeLog)
    }))

  if (name !== "memory") {
    test("by its name, when its definition is gone", ({ journal }) =>
      Effect.gen(function* () {
        const last = yield* count("a", 2)
        const [gone, kept] = [journal({ name: "gone" }), journal({ name: "gone2" })]
        const runner = yield* ProjectionRunner.make(gone)
        yield* ProjectionRunner.make(kept)
        for (const one of [gone, kept]) yield* untilProcessed(one, last)
        assert.isFalse(yield* Projection.remove("gone", 1))
        assert.isFalse(yield* Projection.remove("never_there"))
        assert.isTrue(yield* Projection.remove("gone"))
        assert.include(yield* Effect.flip(runner.join), { _tag: "ProjectionRemoved", version: 1 })
        assert.deepStrictEqual(yield* Projection.versions(gone), [])
        assert.deepStrictEqual(yield* readJournal(kept), yield* wholeLog)
      }))
  }
})
