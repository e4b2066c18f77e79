/** What a program that is to be killed prints of the appends that were acknowledged. */

/** What was acknowledged: the ids of the events, from that version of the stream on. */
export interface Acknowledged {
  readonly stream: string
  readonly version: number
  readonly ids: ReadonlyArray<string>
}

/** The appends that a program has printed, each with its streams. */
export const parse = (lines: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<Acknowledged>> =>
  lines.filter((line) => line.startsWith("[")).map((line) => JSON.parse(line))
