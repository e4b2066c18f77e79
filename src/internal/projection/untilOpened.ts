import { Clock, Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { ViewNotFound } from "../../EventSourcingError.ts"
import type * as Projection from "../../Projection.ts"
import type { Progress, ViewStore } from "../../ViewStore.ts"
import { readable as findReadable } from "./readable.ts"
import { trackingKey } from "./trackingKey.ts"

/** How long a reader waits for a runner of this process that has not opened its view yet, in milliseconds. */
const OPENING = 5000

/** How often it polls for what a runner of another process has created, in milliseconds. */
const POLL = 50

/** The version that is read, and all versions. Waits while a runner in this process is about to create the first. */
export const untilOpened = Effect.fnUntraced(function* (
  store: ViewStore<unknown, unknown>,
  projection: Projection.Any
): Effect.fn.Return<
  { readonly readable: Progress; readonly versions: ReadonlyArray<Progress> },
  ViewNotFound | RecorderError
> {
  const { mode, name, version } = projection
  const key = trackingKey(projection)
  const local = store.localProgress(name)
  let began: number | undefined
  while (true) {
    const seen = local.changes.current()
    const isBegun = local.hasRunner()
    const versions = yield* store.versions(key)
    const readable = findReadable(projection, versions)
    if (readable !== undefined) return { readable, versions }
    const now = yield* Clock.currentTimeMillis
    began ??= now
    const left = began + OPENING - now
    if (!isBegun || left <= 0) {
      return yield* new ViewNotFound({ projection: name, version, mode, stopped: local.stopped.get(version) })
    }
    yield* Effect.raceFirst(Effect.ignore(local.changes.after(seen)), Effect.sleep(Math.min(POLL, left)))
  }
})
