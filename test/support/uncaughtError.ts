import { Effect } from "effect"

/** The next uncaught error, for which vitest would fail the run. */
export const uncaught = Effect.callback<unknown>((resume) => {
  const others = process.listeners("uncaughtException")
  process.removeAllListeners("uncaughtException")
  const restore = () => {
    process.removeAllListeners("uncaughtException")
    for (const listener of others) process.on("uncaughtException", listener)
  }
  process.once("uncaughtException", (error) => {
    restore()
    resume(Effect.succeed(error))
  })
  return Effect.sync(restore)
})
