/** Opens a version of a projection, or creates it. */
import { Effect } from "effect"
import { ProjectionModeChanged, ProjectionRemoved, ProjectionSuperseded } from "../../EventSourcingError.ts"
import { beginAgain, beginAt, continues } from "../../internal/projection/beginAt.ts"
import { ignoredFrom } from "../../internal/projection/ignored.ts"
import { keyText } from "../../internal/projection/trackingKey.ts"
import type * as Tracking from "../../Tracking.ts"
import type { MemoryView } from "../../View.ts"
import type { Beginning, Mode, Opened, ViewStore } from "../../ViewStore.ts"
import { retireBelow } from "./changeVersions.ts"
import { withDraft } from "./draft.ts"
import type { Entry, ViewMemory } from "./entries.ts"
import { currentOf, entryOf, toOpened } from "./entries.ts"

/** The parameters of opening a version. */
interface Opening<E, R> {
  readonly key: Tracking.Key
  readonly mode: Mode
  readonly logId: string
  readonly aggregates: ReadonlyArray<string>
  readonly setup: (view: MemoryView<unknown>) => Effect.Effect<unknown, E, R>
  readonly beginning: Beginning | undefined
  readonly ignored: ReadonlyArray<string>
}

export const makeOpen =
  (memory: ViewMemory): ViewStore<MemoryView<unknown>, never>["open"] =>
  (key, { existing = false, beside = false, ignored = [], beginning, ...options }) =>
    memory.exclusively(
      Effect.gen(function* () {
        const { projection, version } = key
        const opening = { key, ignored, beginning, ...options }
        const current = currentOf(memory, key)
        const own = entryOf(memory, key)
        const isOver = own?.status === "retired" || (current !== undefined && current.key.version > version)
        if (isOver && !(beside && own !== undefined)) {
          return yield* new ProjectionSuperseded({ projection, version, by: current?.key.version ?? version })
        }
        if (own !== undefined) return yield* reopen(opening, own)
        if (existing) return yield* new ProjectionRemoved({ projection, version })
        return yield* create(memory, opening, current)
      })
    )

/** Creates a version and its view; a side effect replaces the current version. */
const create = <E, R>(
  memory: ViewMemory,
  { aggregates, beginning, ignored, key, logId, mode, setup }: Opening<E, R>,
  current: Entry | undefined
): Effect.Effect<Opened, E, R> => {
  const isCurrent = beginning !== undefined || current === undefined
  const before = current === undefined ? undefined : { ...toOpened(current), begins: current.begins }
  const created: Entry = {
    ...{ key, mode, status: isCurrent ? "current" : "building", ready: false },
    ...{ ignored, aggregates, ...beginAt(beginning, before, logId) },
    ...{ state: undefined, letters: [] }
  }
  const set = withDraft(created, setup, () => {
    memory.entries.set(keyText(key), created)
    if (beginning === undefined) return
    // from now on, this version is responsible for the dead letters
    if (current !== undefined && continues(beginning, before)) {
      created.letters = current.letters
      current.letters = []
    }
    retireBelow(memory, key, false)
    memory.localProgress(key.projection).switched()
  })
  return Effect.as(set, toOpened(created))
}

/** Opens a version that exists. If it was reset, it begins again. */
const reopen = <E, R>(
  { aggregates, beginning, ignored, key, logId, mode }: Opening<E, R>,
  own: Entry
): Effect.Effect<Opened, ProjectionModeChanged> =>
  Effect.gen(function* () {
    if (own.mode !== mode) {
      const { projection, version } = key
      return yield* new ProjectionModeChanged({ projection, version, mode: own.mode })
    }
    // it was retired before it had caught up
    if (own.status === "retired" && !own.ready) own.status = "building"
    if (own.logId === undefined) {
      const begun = beginAgain(beginning, toOpened(own), logId)
      Object.assign(own, { aggregates, ...begun, begins: beginning?.from })
    }
    const opened = toOpened(own)
    own.ignored = ignoredFrom(opened, ignored) ?? own.ignored
    return opened
  })
