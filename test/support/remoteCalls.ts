/** Calls between a test and a program of the tests, in both directions: a line of JSON each, answered in any order. */
import * as Readline from "node:readline"
import type { Scope } from "effect"
import { Cause, Deferred, Effect, Option } from "effect"
import * as Child from "./childProcess.ts"

/** The commands of a program. */
export type Commands = Readonly<Record<string, (input: never) => Effect.Effect<unknown, { readonly message: string }>>>

/** A failure in the other process. */
export interface RemoteError {
  readonly _tag: string
  readonly message: string
}

interface Call {
  readonly id: number
  readonly command: string
  readonly input: unknown
}

type Answer =
  | { readonly id: number; readonly success: unknown }
  | { readonly id: number; readonly failure: RemoteError }

const toRemoteError = (cause: Cause.Cause<{ readonly message: string }>): RemoteError => {
  const error = Cause.findErrorOption(cause)
  return Option.isSome(error)
    ? { _tag: "_tag" in error.value ? String(error.value._tag) : "Error", message: error.value.message }
    : { _tag: "Defect", message: Cause.pretty(cause) }
}

/** In the program: runs commands until its standard input ends. */
export const serve = (commands: Commands): void => {
  const answer = (line: Answer) => process.stdout.write(`${JSON.stringify(line)}\n`)
  const lines = Readline.createInterface({ input: process.stdin })
  lines.on("line", (line) => {
    const { id, command, input } = JSON.parse(line) as Call
    const run = commands[command] as (input: unknown) => Effect.Effect<unknown, { readonly message: string }>
    Effect.runFork(
      Effect.matchCause(run(input), {
        onSuccess: (success) => answer({ id, success: success ?? null }),
        onFailure: (cause) => answer({ id, failure: toRemoteError(cause) })
      })
    )
  })
  answer({ id: 0, success: "ready" })
}

/** In the test: a program and its commands. */
export interface Remote<C extends Commands> {
  readonly call: <K extends keyof C & string>(
    command: K,
    input: Parameters<C[K]>[0]
  ) => Effect.Effect<Effect.Success<ReturnType<C[K]>>, RemoteError>
  readonly child: Child.Child
}

/** Starts a program and waits until it listens. */
export const connect = <C extends Commands>(
  program: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<Remote<C>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Child.start(program, ...args)
    yield* child.line
    const waiting = new Map<number, Deferred.Deferred<unknown, RemoteError>>()
    let calls = 0
    const settle = (line: string) => {
      const answer = JSON.parse(line) as Answer
      const deferred = waiting.get(answer.id)
      waiting.delete(answer.id)
      if (deferred !== undefined) {
        Deferred.doneUnsafe(
          deferred,
          "failure" in answer ? Effect.fail(answer.failure) : Effect.succeed(answer.success)
        )
      }
    }
    /** When the program ends, pending calls fail with how it ended. */
    const abandon = (cause: Cause.Cause<never>) => {
      for (const deferred of waiting.values()) Deferred.doneUnsafe(deferred, Effect.failCause(cause))
    }
    yield* child.line.pipe(
      Effect.flatMap((line) => Effect.sync(() => settle(line))),
      Effect.forever,
      Effect.catchCause((cause) => Effect.sync(() => abandon(cause))),
      Effect.forkScoped
    )
    return {
      child,
      call: (command, input) =>
        Effect.gen(function* () {
          const deferred = yield* Deferred.make<unknown, RemoteError>()
          const id = ++calls
          waiting.set(id, deferred)
          yield* child.send(JSON.stringify({ id, command, input } satisfies Call))
          return (yield* Deferred.await(deferred)) as never
        })
    }
  })
