/** Validates call arguments up front: the client and the server report bad values cryptically or not at all. */
import { Effect } from "effect"
import { KurrentFailure } from "../connection/KurrentError.ts"

const INT64 = 2n ** 63n - 1n
const INT32 = 2 ** 31 - 1

/** Where a stream has to be for a change to be accepted. */
export type ExpectedRevision = "NoStream" | "StreamExists" | "Any" | bigint

/** Why it can't be the name of a stream, or `undefined` if it can. */
export const streamProblem = (stream: string): string | undefined =>
  stream === "" || stream === "$$" || stream === "$all" || !stream.isWellFormed()
    ? `"${stream}" is not a valid stream name`
    : undefined

/** Why it can't be a revision or a position, or `undefined` if it can. */
export const placeProblem = (name: string, place: bigint): string | undefined =>
  place < 0n || place > INT64 ? `${name} must be from 0 to 2^63 - 1, got ${place}` : undefined

export const expectedProblem = (expected: ExpectedRevision): string | undefined =>
  typeof expected === "bigint" ? placeProblem("expected", expected) : undefined

/** Why it can't be a count, or `undefined` if it can. An omitted count is valid. */
export const countProblem = (
  name: string,
  count: number | undefined,
  least: number,
  most: number = INT32
): string | undefined =>
  count === undefined || (Number.isSafeInteger(count) && count >= least && count <= most)
    ? undefined
    : `${name} must be an integer from ${least} to ${most}, got ${count}`

/** An expected revision in the client's form. */
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

/** Fails if there is a problem. */
export const check = (operation: string, problem: string | undefined): Effect.Effect<void, KurrentFailure> =>
  problem === undefined ? Effect.void : Effect.fail(new KurrentFailure({ operation, reason: problem }))

/**
 * The most bytes of one event that a call of the server accepts. A larger one would end all calls that share its
 * connection.
 */
const LARGEST = 16 * 2 ** 20 - 10_000

/** Why an event of this many bytes can't be sent, or `undefined` if it can. */
export const sizeProblem = (what: string, bytes: number): string | undefined =>
  bytes > LARGEST
    ? `${what} has ${bytes} bytes, which is more than the server accepts (${LARGEST}, or its MaxAppendEventSize if that is less); keep less in it, or compress it`
    : undefined

/** The size in bytes of texts and bytes as they are sent; an estimate if the size can't be too large. */
export const sizeOf = (...parts: ReadonlyArray<string | Uint8Array>): number => {
  const units = parts.reduce((sum, { length }) => sum + length, 0)
  return units * 3 <= LARGEST ? units : parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0)
}

/** A number that is too large for JavaScript, in the form in which it is written to JSON. */
export const rawJson = (text: string): unknown =>
  // TypeScript's own declarations do not include it yet
  (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON(text)
