/** A second process: a program of the tests, which communicates in lines. */
import * as ChildProcess from "node:child_process"
import * as Path from "node:path"
import * as Readline from "node:readline"
import type { Cause, Scope } from "effect"
import { Deferred, Effect, Queue } from "effect"

/** A process that was started. */
export interface Child {
  /** The next line of its standard output; dies, with its standard error, if the process ends before that. */
  readonly line: Effect.Effect<string>
  /** All lines that have not been taken, up to its end. */
  readonly remaining: Effect.Effect<ReadonlyArray<string>>
  readonly send: (line: string) => Effect.Effect<void>
  /** Kills it if it is still running, and returns how it ended: a signal or an exit code. */
  readonly kill: Effect.Effect<string>
  /** Sends it a signal, and returns how it ended. */
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<string>
  /** Closes its standard input and waits for its end; dies if it failed. */
  readonly end: Effect.Effect<void>
}

/**
 * Starts a program, named from the directory of all tests, with arguments; it is killed with the scope if it is still
 * running.
 */
export const start = (program: string, ...args: ReadonlyArray<string>): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.gen(function* () {
    const lines = yield* Queue.unbounded<string, Cause.Done>()
    const ended = yield* Deferred.make<string>()
    let errors = ""
    const child = ChildProcess.spawn(
      process.execPath,
      [
        "--conditions=effect-eventsourcing-source",
        `--import=${Path.resolve(import.meta.dirname, "keepCompiled.ts")}`,
        Path.resolve(import.meta.dirname, "..", program),
        ...args
      ],
      { stdio: ["pipe", "pipe", "pipe"] }
    )
    Readline.createInterface({ input: child.stdout })
      .on("line", (line) => Queue.offerUnsafe(lines, line))
      .on("close", () => Queue.endUnsafe(lines))
    child.stderr.on("data", (data) => {
      errors += String(data)
    })
    // a process that was killed no longer reads its input
    child.stdin.on("error", () => {})
    child.on("close", (code, signal) => Deferred.doneUnsafe(ended, Effect.succeed(String(signal ?? code))))

    const kill = Effect.suspend(() => {
      child.kill("SIGKILL")
      return Deferred.await(ended)
    })
    yield* Effect.addFinalizer(() => kill)

    const failed = Effect.flatMap(Deferred.await(ended), (how) =>
      Effect.die(new Error(`${program} ended with ${how}:\n${errors}`))
    )
    return {
      line: Effect.catch(Queue.take(lines), () => failed),
      remaining: Effect.orElseSucceed(Queue.collect(lines), () => []),
      send: (line) => Effect.sync(() => child.stdin.write(`${line}\n`)),
      kill,
      signal: (name) =>
        Effect.suspend(() => {
          child.kill(name)
          return Deferred.await(ended)
        }),
      end: Effect.suspend(() => {
        child.stdin.end()
        return Effect.flatMap(Deferred.await(ended), (how) => (how === "0" ? Effect.void : failed))
      })
    }
  })
