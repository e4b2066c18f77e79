/** Runners in processes of their own, and what they report. */
import { assert } from "@effect/vitest"
import type { Cause, Scope } from "effect"
import { Deferred, Effect, Fiber } from "effect"
import * as Child from "../../support/childProcess.ts"
import type { Line, Options } from "./sumsRunner.ts"

/** What a runner has reported so far. */
export interface Reported {
  /** The states that it has reached. */
  readonly states: Array<string>
  /** The positions of the events that it has begun to handle. */
  readonly inHand: Array<bigint>
  /** How often it found that another runner had moved the tracking. */
  conflicts: number
  isPausing: boolean
  /** The outcome of the batch in which it was paused. */
  outcome: string | undefined
}

/** A runner in another process. */
export interface Runner {
  readonly reported: Readonly<Reported>
  /** Waits until it has reported something; dies, with its standard error, if it ends before that. */
  readonly until: (what: string, condition: (reported: Readonly<Reported>) => boolean) => Effect.Effect<void>
  /** The next event that it begins to handle. */
  readonly nextInHand: Effect.Effect<void>
  /** Resumes it after it has paused itself. */
  readonly resume: Effect.Effect<void>
  /** Kills it; everything that it had reported is known by then. */
  readonly kill: Effect.Effect<void>
}

/** Starts a runner in a process of its own. */
export const startRunner = (options: Options): Effect.Effect<Runner, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Child.start("projection/support/sumsRunner.ts", JSON.stringify(options))
    const reported: Reported = { states: [], inHand: [], conflicts: 0, isPausing: false, outcome: undefined }
    let pid: number | undefined
    let nextLine = Deferred.makeUnsafe<void>()

    const take = (line: Line) => {
      switch (line._tag) {
        case "Opened":
          pid = line.pid
          break
        case "InHand":
          reported.inHand.push(BigInt(line.position))
          break
        case "State":
          if (line.cause === "TrackingConflict") reported.conflicts++
          if (reported.states.at(-1) !== line.state) reported.states.push(line.state)
          break
        case "Pausing":
          reported.isPausing = true
          break
        case "Paused":
          reported.outcome = line.outcome
      }
      const thisLine = nextLine
      nextLine = Deferred.makeUnsafe()
      Deferred.doneUnsafe(thisLine, Effect.void)
    }
    const ended = Deferred.makeUnsafe<never>()
    const reader = yield* child.line.pipe(
      Effect.flatMap((line) => Effect.sync(() => take(JSON.parse(line)))),
      Effect.forever,
      Effect.catchCause((cause: Cause.Cause<never>) => Deferred.failCause(ended, cause)),
      Effect.forkScoped
    )

    const wait = (condition: (reported: Reported) => boolean): Effect.Effect<void> =>
      Effect.suspend(() =>
        condition(reported)
          ? Effect.void
          : Effect.flatMap(Effect.raceFirst(Deferred.await(nextLine), Deferred.await(ended)), () => wait(condition))
      )
    const until: Runner["until"] = (what, condition) =>
      Effect.raceFirst(wait(condition), Effect.andThen(Effect.delay(stillWaiting(what), "30 seconds"), Effect.never))
    /** The limit is that of the test, which would not say what was missing. */
    const stillWaiting = (what: string) =>
      Effect.sync(() =>
        console.error(`still waiting for this: ${what}; it reported ${JSON.stringify(reported.states)}`)
      )
    return {
      reported,
      until,
      nextInHand: Effect.suspend(() => {
        const { length } = reported.inHand
        return until("another event in hand", ({ inHand }) => inHand.length > length)
      }),
      resume: Effect.sync(() => {
        if (pid === undefined) throw new Error("the runner has not opened yet")
        process.kill(pid, "SIGCONT")
      }),
      kill: Effect.gen(function* () {
        // a runner that has ended on its own reports why
        if (Deferred.isDoneUnsafe(ended)) yield* Deferred.await(ended)
        assert.strictEqual(yield* child.kill, "SIGKILL")
        yield* Fiber.await(reader)
      })
    }
  })
