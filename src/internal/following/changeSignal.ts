import { Effect } from "effect"
import { RecorderFailure } from "../../EventSourcingError.ts"
import { resumeSafely } from "../concurrency/resumeSafely.ts"

/** Notifies followers in this process that a log has grown, or was closed. */
export interface ChangeSignal {
  /** Differs after each change. */
  readonly current: () => number
  /** Waits until it differs from the given value. Fails once the log is closed. */
  readonly after: (seen: number) => Effect.Effect<void, RecorderFailure>
  readonly notify: () => void
  readonly close: () => void
}

export const makeChangeSignal = (): ChangeSignal => {
  let count = 0
  let isClosed = false
  const waiting = new Set<() => void>()
  const wakeAll = () => {
    const woken = [...waiting]
    waiting.clear()
    for (const wake of woken) resumeSafely(wake)
  }
  const closed = Effect.suspend(() =>
    Effect.fail(new RecorderFailure({ operation: "follow the log", reason: "the log was closed" }))
  )
  return {
    current: () => count,
    after: (seen) =>
      Effect.callback<void, RecorderFailure>((resume) => {
        const wake = () => resume(isClosed ? closed : Effect.void)
        if (isClosed || seen !== count) return wake()
        waiting.add(wake)
        return Effect.sync(() => {
          waiting.delete(wake)
        })
      }),
    notify: () => {
      count++
      if (waiting.size > 0) wakeAll()
    },
    close: () => {
      isClosed = true
      wakeAll()
    }
  }
}
