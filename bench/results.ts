/** The results as programs read them. */
import * as Fs from "node:fs"
import { Effect } from "effect"

export interface Result {
  readonly backend: string
  readonly scenario: string
  readonly unit: string
  /** Operations in a second. */
  readonly ours: number
  readonly raw: number
  /** `ours / raw` */
  readonly ratio: number
}

/** Writes the results to a file, over what is there. */
export const write = (file: string, results: ReadonlyArray<Result>) =>
  Effect.try({
    try: () => Fs.writeFileSync(file, `${JSON.stringify({ results }, undefined, 2)}\n`),
    catch: (cause) => new Error(`the results can't be written: ${cause instanceof Error ? cause.message : cause}`)
  })
