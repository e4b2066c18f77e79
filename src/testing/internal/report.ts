import { ExpectationFailed } from "../ExpectationFailed.ts"
import { difference } from "./compare.ts"

/** A paragraph of a report. */
export type Paragraph = readonly [about: string, text: string]

/** A paragraph that lists values, each as text. */
export const listed = (about: string, values: ReadonlyArray<string>): Paragraph => [
  about,
  (values.length === 0 ? ["nothing"] : values.flatMap((value) => value.split("\n")))
    .map((line) => `  ${line}`)
    .join("\n")
]

/** The paragraph that compares the expected and the actual result. */
export const compared = (
  cameOut: string,
  expected: ReadonlyArray<string>,
  actual: ReadonlyArray<string>
): Paragraph => [`difference (- expected, + ${cameOut})`, difference(expected, actual)]

/** The values that are compared, and the unexpected failure. */
export interface Details {
  readonly expected?: unknown
  readonly actual?: unknown
  readonly cause?: unknown
}

/** A function whose frames are left out of a stack, so that it begins with the line of the test. */
export type From = (...args: ReadonlyArray<never>) => unknown

/** The error of an expectation that was not met. */
export const failed = (
  title: string,
  paragraphs: ReadonlyArray<Paragraph>,
  details: Details,
  from?: From
): ExpectationFailed => {
  const shown = paragraphs.map(([about, text]) => `${about}\n${text}`)
  return withoutFrames(new ExpectationFailed([title, ...shown].join("\n\n"), details), from)
}

/** Leaves the frames of a function, and of those that it called, out of an error's stack. */
export const withoutFrames = <E extends Error>(error: E, from: From | undefined): E => {
  if (from !== undefined) Error.captureStackTrace?.(error, from)
  return error
}
