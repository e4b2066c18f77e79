import { Effect } from "effect"

let last = ""

/** Says on stderr what is going on: on a terminal in one line that changes, elsewhere a line for each title. */
export const progress = (title: string, detail = ""): Effect.Effect<void> =>
  Effect.sync(() => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${title}${detail === "" ? "" : `: ${detail}`}`)
    else if (title !== last) process.stderr.write(`${title}\n`)
    last = title
  })

/** Clears the line that changes. */
export const done: Effect.Effect<void> = Effect.sync(() => {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K")
})
