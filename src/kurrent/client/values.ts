/** What values of calls may be, checked here because the client or the server would answer in riddles, or not at all. */
import { Effect } from "effect"
import { KurrentFailure } from "../connection/KurrentError.ts"

const INT64 = 2n ** 63n - 1n
const INT32 = 2 ** 31 - 1

/** Where a stream has to be for a change to be accepted. */
export type ExpectedRevision = "NoStream" | "StreamExists" | "Any" | bigint

/** Why it can't be the name of a stream, if it can't. */
export const streamProblem = (stream: string): string | undefined =>
  stream === "" || stream === "$$" || stream === "$all" || !stream.isWellFormed()
    ? `"${stream}" is no name of a stream`
    : undefined

/** Why it can't be a revision or a position, if it can't. */
export const placeProblem = (name: string, place: bigint): string | undefined =>
  place < 0n || place > INT64 ? `${name} is from 0 to 2^63 - 1, and not ${place}` : undefined

export const expectedProblem = (expected: ExpectedRevision): string | undefined =>
  typeof expected === "bigint" ? placeProblem("expected", expected) : undefined

/** Why it can't be a number of something, if it can't; not given, it can. */
export const countProblem = (
  name: string,
  count: number | undefined,
  least: number,
  most: number = INT32
): string | undefined =>
  count === undefined || (Number.isSafeInteger(count) && count >= least && count <= most)
    ? undefined
    : `${name} is an integer from ${least} to ${most}, and not ${count}`

/** An expected revision as the client calls it. */
export const toState = (expected: ExpectedRevision) => {
  switch (expected) {
    case "NoStream":
      return "no_stream" as const
    case "StreamExists":
      return "stream_exists" as const
    case "Any":
      return "any" as const
    default:
      return expected
  }
}

/** Goes on where there is no problem. */
export const check = (operation: string, problem: string | undefined): Effect.Effect<void, KurrentFailure> =>
  problem === undefined ? Effect.void : Effect.fail(new KurrentFailure({ operation, reason: problem }))

/** The bytes of one event that a call of the server takes; a larger one would end all calls that share its connection. */
const LARGEST = 16 * 2 ** 20 - 10_000

/** Why an event of so many bytes can't be sent, if it can't. */
export const sizeProblem = (what: string, bytes: number): string | undefined =>
  bytes > LARGEST
    ? `${what} has ${bytes} bytes, which is larger than the server accepts (${LARGEST}, and what its MaxAppendEventSize says); keep less in it, or compress it`
    : undefined

/** The bytes of texts and bytes as they are sent; where they can't be too many, an estimate. */
export const sizeOf = (...parts: ReadonlyArray<string | Uint8Array>): number => {
  const units = parts.reduce((sum, { length }) => sum + length, 0)
  return units * 3 <= LARGEST ? units : parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0)
}

/** A number that is too large for those of JavaScript, as it is to stand in JSON. */
export const rawJson = (text: string): unknown =>
  // TypeScript's own declarations do not have it yet
  (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON(text)
