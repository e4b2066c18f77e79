import type * as Aggregate from "../../Aggregate.ts"
import type { Opened } from "../../ViewStore.ts"
import type { Compiled } from "./compiled.ts"

interface Handles {
  readonly aggregates: ReadonlyArray<Aggregate.Any>
  readonly compiled: Pick<Compiled<unknown, unknown>, "handles">
}

/** The types of events that a projection ignores. */
export const ignoredBy = ({ aggregates, compiled }: Handles): ReadonlyArray<string> =>
  aggregates
    .flatMap(({ compiled: { byTag }, name }) =>
      [...byTag.values()].filter(({ tag }) => !compiled.handles(name, tag)).map(({ type }) => type)
    )
    .sort()

/** Which of some types of events, by their current or earlier names, a projection handles. */
export const handledOf = ({ aggregates, compiled }: Handles, types: ReadonlyArray<string>): ReadonlyArray<string> =>
  types.filter((type) =>
    aggregates.some(({ compiled: { byType }, name }) => {
      const event = byType.get(type)
      return event !== undefined && compiled.handles(name, event.tag)
    })
  )

/**
 * The types to record as ignored when a version is opened; `undefined` if they are already recorded. An event that was
 * ignored once has been missed, even if its type is no longer ignored, unless the version is at the start.
 */
export const ignoredFrom = (
  { ignored: before, mode, position }: Opened,
  ignored: ReadonlyArray<string>
): ReadonlyArray<string> | undefined => {
  const isAtStart = position === undefined && mode === "followed"
  const all = before === undefined || isAtStart ? ignored : [...new Set([...before, ...ignored])].sort()
  return before?.join() === all.join() ? undefined : all
}
