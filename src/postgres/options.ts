import type { Duration } from "effect"
import { Effect } from "effect"
import type { RecorderFailure } from "../EventSourcingError.ts"
import * as Options from "../internal/backend/options.ts"

const OPERATION = "configure PostgreSQL"

/** The milliseconds of a duration option; see {@link Options.milliseconds}. */
export const milliseconds = <A extends Duration.Input | undefined>(
  name: string,
  input: A,
  range: { readonly least: number; readonly endless?: boolean }
): Effect.Effect<A extends undefined ? number | undefined : number, RecorderFailure> =>
  Options.milliseconds(OPERATION, name, input, range)

/** How many milliseconds to wait for a lock, in the form that PostgreSQL takes: 0 is without limit. */
export const lockTimeoutOf = (input: Duration.Input | undefined): Effect.Effect<number, RecorderFailure> =>
  Effect.map(milliseconds("lockTimeout", input ?? "5 seconds", { least: 1, endless: true }), (waits) =>
    Number.isFinite(waits) ? Math.floor(waits) : 0
  )

/** Checks an option that is a count. */
export const checkCount = (
  name: string,
  count: number | undefined,
  least: number
): Effect.Effect<void, RecorderFailure> => Options.checkCount(OPERATION, name, count, least)
