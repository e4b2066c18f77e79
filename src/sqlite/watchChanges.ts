import { Effect, RcRef, Schedule } from "effect"
import { makeChangeSignal } from "../internal/following/changeSignal.ts"
import type { SqliteDatabase } from "./SqliteDatabase.ts"

/**
 * The signal that this recorder's followers wait for. It is notified of what is committed in this process and, while
 * there are followers, of what other processes commit. It closes with the recorder, even if others have the file open.
 */
export const watchChanges = Effect.fnUntraced(function* (database: SqliteDatabase, interval: number) {
  const { changeSignals, reader, writer, check } = database
  const changes = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const made = makeChangeSignal()
      changeSignals.add(made)
      return made
    }),
    (made) =>
      Effect.sync(() => {
        changeSignals.delete(made)
        made.close()
      })
  )
  if (reader === writer) return Effect.succeed(changes)
  const dataVersion = reader.prepare("PRAGMA data_version")
  const read = Effect.try({
    try: () => {
      // followers of a lost file are notified of the loss, and would otherwise wait forever
      check()
      return dataVersion.get()?.data_version
    },
    catch: () => undefined
  })
  const watcher = yield* RcRef.make({
    acquire: Effect.gen(function* () {
      let seen: unknown = yield* Effect.orElseSucceed(read, () => undefined)
      yield* read.pipe(
        Effect.flatMap((version) =>
          Effect.sync(() => {
            if (version !== seen) changes.notify()
            seen = version
          })
        ),
        Effect.ignore,
        Effect.repeat(Schedule.spaced(interval)),
        Effect.forkScoped
      )
    })
  })
  return Effect.as(RcRef.get(watcher), changes)
})
