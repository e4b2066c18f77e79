import { Duration, Effect } from "effect"
import { RecorderFailure } from "../../EventSourcingError.ts"

/** The longest delay of a timer in Node: 24 days. */
const LONGEST = 2 ** 31 - 1

/** The milliseconds of a duration option; `Infinity` if the option allows it; `undefined` if it is left out. */
export const milliseconds = <A extends Duration.Input | undefined>(
  operation: string,
  name: string,
  input: A,
  { least, endless = false }: { readonly least: number; readonly endless?: boolean }
): Effect.Effect<A extends undefined ? number | undefined : number, RecorderFailure> =>
  Effect.suspend(() => {
    const found = input === undefined ? undefined : toMillis(input)
    const fits =
      input === undefined ||
      (found !== undefined && found >= least && (found <= LONGEST || (endless && found === Number.POSITIVE_INFINITY)))
    if (fits) return Effect.succeed(found as A extends undefined ? number | undefined : number)
    const range = `${least} ms to 24 days${endless ? ", or Infinity" : ""}`
    const reason = `the option ${name} must be a duration of ${range}, such as "5 seconds", got "${String(input)}"`
    return Effect.fail(new RecorderFailure({ operation, reason }))
  })

const toMillis = (input: Duration.Input): number | undefined => {
  try {
    return Duration.toMillis(Duration.fromInputUnsafe(input))
  } catch {
    return undefined
  }
}

/** What is wrong with an expected version that a program without types has passed, or `undefined`. */
export const expectedProblem = (expected: unknown): string | undefined =>
  expected === "NoStream" || typeof expected === "number"
    ? undefined
    : `the expected version must be 0, 1, 2… or "NoStream", got ${typeof expected === "bigint" ? expected : JSON.stringify(expected)} of type ${typeof expected}; convert the text of an HTTP header to a number`

/** Checks an option that is a count. */
export const checkCount = (
  operation: string,
  name: string,
  count: number | undefined,
  least: number
): Effect.Effect<void, RecorderFailure> =>
  count === undefined || (Number.isInteger(count) && count >= least)
    ? Effect.void
    : Effect.fail(
        new RecorderFailure({
          operation,
          reason: `the option ${name} must be an integer of at least ${least}, got ${count}`
        })
      )
