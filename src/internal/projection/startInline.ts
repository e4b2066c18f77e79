/** Brings the view of an inline projection up to date; from then on, the appends of the log maintain it. */
import { Effect } from "effect"
import { RecorderFailure } from "../../EventSourcingError.ts"
import type * as Projection from "../../Projection.ts"
import type { Recorder } from "../../Recorder.ts"
import { isLastPage } from "../backend/pageSize.ts"
import * as BatchSize from "./batchSize.ts"
import type { InlineDatabase } from "./inlineDatabase.ts"
import type { Inline } from "./inlineProjection.ts"
import { openView } from "./openView.ts"

/** How many events a transaction handles while a view catches up. */
const PAGE = 512

/** Brings a view to the end of the log, and switches it to being updated inline from there. */
export const startInline = Effect.fnUntraced(function* (
  projection: Projection.Inline,
  { key, handle, count, categories }: Inline,
  recorder: Recorder["Service"],
  { store, switchOver }: InlineDatabase,
  maxBytes: number
) {
  const opened = yield* openView(store, projection, "inline", recorder)
  if (opened.status === "current") return
  let position = opened.position
  const names = [...categories]
  const size = BatchSize.make(PAGE)
  const page = Effect.fnUntraced(function* () {
    const head = yield* recorder.head
    const filter = { categories: names }
    const bounds = { limit: size.next(), maxBytes }
    // up to the head, to which the tracking moves: later events belong to the next page
    const events = yield* recorder.readAll({ after: position, upTo: head, filter, ...bounds })
    const isLast = isLastPage(events, bounds)
    const last = isLast ? head : events[events.length - 1]?.position
    // the newest events may have been erased: the log then ends before the position
    if (last === undefined || (position !== undefined && last <= position)) return false
    const handled = yield* store.transact({ key, from: position, to: last }, (view, { left }) => {
      const before = left()
      return Effect.tap(handle(events, view), () =>
        Effect.sync(() => size.adapt(events.length, before - left(), left()))
      )
    })
    yield* count(handled)
    position = last
    return !isLast
  })
  while (yield* page()) yield* Effect.yieldNow
  const isNew = yield* switchOver(
    key,
    names,
    Effect.gen(function* () {
      const versions = yield* store.versions(key)
      if (versions.some(({ version, status }) => version === key.version && status === "current")) return false
      while (yield* page()) yield* Effect.yieldNow
      if (!(yield* store.promote(key, { keep: true }))) {
        return yield* new RecorderFailure({
          operation: `promote inline projection "${projection.name}"`,
          reason: `version ${key.version} lags behind the current one, or is lower; give it a higher version`
        })
      }
      return true
    })
  )
  if (!isNew) return
  yield* Effect.logInfo(`version ${key.version} of inline projection "${projection.name}" is now the current one`)
})
