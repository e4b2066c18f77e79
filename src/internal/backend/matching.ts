/** Which events and streams a read matches, for backends without such conditions of their own. */
import type { Position } from "../../Position.ts"
import type { Filter } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"

/** Returns a predicate for the events that match a filter. */
export const matcher = (filter: Filter | undefined): ((event: Notification) => boolean) => {
  if (filter === undefined) return () => true
  const types = filter.types === undefined ? undefined : new Set(filter.types)
  const categories = filter.categories === undefined ? undefined : new Set(filter.categories)
  return ({ type, stream }) =>
    (types === undefined || types.has(type)) &&
    (categories === undefined || categories.has(StreamName.category(stream)))
}

/** Whether a position is after the end of a read, in reading direction. */
export const isBeyond = (position: Position, upTo: Position | undefined, isBackward: boolean): boolean =>
  upTo !== undefined && (isBackward ? position < upTo : position > upTo)

/**
 * The names of a category's streams: from one name on, up to another one (exclusive); `null` if there is no end. "." is
 * the character after "-". No category contains "-", which ends it: the range is then empty.
 */
export const categoryRange = (category: string | undefined): readonly [from: string, end: string | null] => {
  if (category === undefined) return ["", null]
  return category.includes("-") ? ["", ""] : [`${category}-`, `${category}.`]
}
