import { Context, Effect, Exit, Fiber } from "effect"

/** A decision that is an Effect, and so can execute other commands while it is taken. */
interface Deciding {
  /** Identifies the repositories of one layer, also within a transaction: their commands know of each other. */
  readonly store: object
  readonly streams: ReadonlyArray<string>
  /** The decision of which this one is a part. */
  readonly outer: Deciding | undefined
  isOver: boolean
}

/** The decision that a fiber, or the one that started it, is taking. */
const Deciding: Context.Reference<Deciding | undefined> = Context.Reference("effect-eventsourcing/internal/Deciding", {
  defaultValue: (): Deciding | undefined => undefined
})

/** How many decisions of this process are running Effects. */
let running = 0

const LONG = "10 seconds"

/**
 * Logs a warning for a command that waits long while decisions are running Effects: one of them may be waiting for this
 * command.
 */
export const warnOfLongWait = (stream: string): Effect.Effect<void> | undefined =>
  running === 0
    ? undefined
    : Effect.delay(
        Effect.logWarning(
          `a command on "${stream}" has waited ${LONG} for those before it; a decision that waits for a command on its own aggregate never ends`
        ),
        LONG
      )

/** The streams of the decisions on such aggregates that a fiber is taking; `undefined` if it is taking none. */
const decidedOn = (fiber: Fiber.Fiber<unknown, unknown>, store: object): ReadonlyArray<string> | undefined => {
  let streams: ReadonlyArray<string> | undefined
  for (let one = fiber.getRef(Deciding); one !== undefined; one = one.outer) {
    if (one.store === store && !one.isOver) streams = [...one.streams, ...(streams ?? [])]
  }
  return streams
}

/** Takes a decision on streams. A decision whose result is available at once executes no commands. */
export const deciding = <A, E, R>(
  store: object,
  streams: ReadonlyArray<string>,
  decision: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Exit.isExit(decision)
    ? decision
    : Effect.withFiber((fiber) => {
        const mark: Deciding = { store, streams, outer: fiber.getRef(Deciding), isOver: false }
        running++
        return Effect.onExit(Effect.provideService(decision, Deciding, mark), () =>
          Effect.sync(() => {
            running--
            mark.isOver = true
          })
        )
      })

/**
 * What a command on streams does instead of waiting for its turn; `undefined` if it takes its turn like any other.
 *
 * A command within a decision takes no turn, since the turn of another command may have to wait for the end of that
 * decision. If the command is on a stream of the decision itself, it could never succeed, and it fails at once with a
 * defect. This is checked for every command, at no cost while no decision is a running Effect.
 */
export const withoutTurn = <A, E, R>(
  store: object,
  streams: ReadonlyArray<string>,
  command: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> | undefined => {
  const fiber = running === 0 ? undefined : Fiber.getCurrent()
  const taken = fiber && decidedOn(fiber, store)
  if (taken === undefined) return undefined
  const own = streams.find((stream) => taken.includes(stream))
  return own === undefined
    ? command
    : Effect.die(
        new Error(
          `a decision on "${own}" executes a command on "${own}", which would wait for the decision to end; return its events from the decision, or execute it afterwards`
        )
      )
}
