import { Effect } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { TrackingConflict, WrongExpectedVersion } from "../EventSourcingError.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { PostgresDatabase, Row } from "./PostgresDatabase.ts"
import type { Part, Request } from "./parameters.ts"
import { fromInteger, ofAppends, ofEvent, ofPrecheck, ofTracked, toInteger } from "./parameters.ts"
import { callAppendEvent } from "./sql/appendEvent.ts"
import { callAppendEvents } from "./sql/appendEvents.ts"
import { APPEND_TRACKED, callAppendTracked } from "./sql/appendTracked.ts"
import { precheckAppend } from "./sql/queries.ts"

/** The outcome of an append that was accepted. */
export interface AppendResult {
  /** The position of its last event, if it has events. */
  readonly position: Position | undefined
  /** Whether its events had been recorded before. */
  readonly isRepeated: boolean
}

/** The outcome of an append. */
export type AppendOutcome = Effect.Effect<AppendResult, WrongExpectedVersion | TrackingConflict>

/** Records appends in one call of `append_events` or `append_event`, with an outcome for each of them. */
export const makeAppend = ({
  lockTimeout,
  query,
  schema,
  version
}: PostgresDatabase): ((
  requests: ReadonlyArray<Request>
) => Effect.Effect<ReadonlyArray<AppendOutcome>, RecorderError>) => {
  const callOne = callAppendEvent(schema)
  const callMany = callAppendEvents(schema)
  const callTracked = callAppendTracked(schema)
  return (requests) =>
    Effect.suspend(() => {
      const [request] = requests
      const part = requests.length === 1 && request?.move === undefined ? request?.parts[0] : undefined
      const event = request?.parts.length === 1 && part?.events.length === 1 ? part.events[0] : undefined
      if (requests.length === 1 && request?.move?.note !== undefined && version >= APPEND_TRACKED) {
        const { move, parts } = request
        return Effect.map(query("append", callTracked, ofTracked(lockTimeout, { parts, move })), ([row]) =>
          toOutcomes(requests, row as Row)
        )
      }
      return part === undefined || event === undefined
        ? Effect.map(query("append", callMany, ofAppends(lockTimeout, requests)), ([row]) =>
            toOutcomes(requests, row as Row)
          )
        : Effect.map(query("append", callOne, ofEvent(lockTimeout, part.stream, part.expected, event)), ([row]) => [
            toOutcome(part, row?.[0] as ReadonlyArray<bigint | null>)
          ])
    })
}

/**
 * Checks, without the position lock, whether an append would be refused or was recorded before; `undefined` if it still
 * has to be done. Only the append itself knows for certain: others may append right after the check.
 */
export const makePrecheck = ({
  query,
  schema
}: PostgresDatabase): ((request: Request) => Effect.Effect<AppendOutcome | undefined, RecorderError>) => {
  const sql = precheckAppend(schema)
  return (request) =>
    Effect.map(query("append", sql, ofPrecheck(request)), ([row]) =>
      row === undefined ? undefined : toPrecheckOutcome(request, row)
    )
}

/** The outcome in the result of `precheckAppend`. */
const toPrecheckOutcome = ({ parts, move }: Request, row: Row): AppendOutcome | undefined => {
  const [actual, repeated, tracked] = row as readonly [
    actual: ReadonlyArray<number>,
    repeated: bigint | null,
    tracked: bigint | null
  ]
  const tracking = tracked === null ? undefined : BigInt(tracked)
  if (parts.every(({ expected }, i) => toInteger(expected) === actual[i])) {
    return move === undefined || tracking === move.from ? undefined : trackingConflict(move, tracking ?? -1n)
  }
  return repeated !== null && (move === undefined || (tracking !== undefined && tracking >= move.to))
    ? Effect.succeed({ position: fromStorage(BigInt(repeated)), isRepeated: true })
    : Effect.fail(wrongVersion(parts, actual))
}

/** The outcome in the result of `append_event`. */
const toOutcome = (part: Part, [position, actual, repeated]: ReadonlyArray<bigint | null>): AppendOutcome => {
  const recorded = position ?? repeated
  return recorded == null
    ? Effect.fail(wrongVersion([part], [Number(actual)]))
    : Effect.succeed({ position: fromStorage(BigInt(recorded)), isRepeated: position === null })
}

/** The outcomes in the result of `append_events`. */
const toOutcomes = (requests: ReadonlyArray<Request>, row: Row): ReadonlyArray<AppendOutcome> => {
  const [first, actual, refused, repeated, tracked] = row as readonly [
    first: bigint | null,
    actual: ReadonlyArray<number> | null,
    refused: ReadonlyArray<number> | null,
    repeated: ReadonlyArray<bigint | null> | null,
    tracked: bigint | null
  ]
  if (tracked !== null) return requests.map(({ move }) => trackingConflict(move, BigInt(tracked)))
  let parts = 0
  let events = 0
  let refusals = 0
  return requests.map((request, index): AppendOutcome => {
    const before = parts
    parts += request.parts.length
    const count = request.parts.reduce((sum, part) => sum + part.events.length, 0)
    events += count
    if (refused?.[refusals] === index) {
      const position = repeated?.[refusals++]
      return position == null
        ? Effect.fail(wrongVersion(request.parts, actual?.slice(before, parts) ?? []))
        : Effect.succeed({ position: fromStorage(BigInt(position)), isRepeated: true })
    }
    const position = count === 0 ? undefined : fromStorage(BigInt(first as bigint) + BigInt(events - 1))
    return Effect.succeed({ position, isRepeated: false })
  })
}

const wrongVersion = (parts: ReadonlyArray<Part>, actual: ReadonlyArray<number>): WrongExpectedVersion => {
  const at = parts.findIndex(({ expected }, i) => toInteger(expected) !== actual[i])
  const { stream, expected } = parts[at] as Part
  return new WrongExpectedVersion({ stream, expected, actual: fromInteger(actual[at] as number) })
}

const trackingConflict = (move: Request["move"], tracked: bigint): AppendOutcome => {
  if (move === undefined) throw new Error("a tracking conflict of an append without a tracking move")
  const { projection, upstream } = move.key
  const actual = tracked < 0n ? undefined : fromStorage(tracked)
  return Effect.fail(new TrackingConflict({ projection, upstream, expected: move.from, actual }))
}
