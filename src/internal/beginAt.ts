import type { Position } from "../Position.ts"
import type { Beginning, Opened, Seen } from "../ViewStore.ts"

/** Where a version begins, and of which log that is. */
export interface Begun {
  readonly position: Position | undefined
  readonly seen: Seen | undefined
  readonly logId: string
  /** Where it is defined to begin, or was when the first of its line was; in text. */
  readonly begins: string | undefined
}

/**
 * Where a new version begins: a view at the start. A side effect continues where the version is whose place it takes; unless
 * it is defined to begin elsewhere than that was, which is an order.
 */
export const beginAt = (
  beginning: Beginning | undefined,
  before: (Opened & { readonly begins: string | undefined }) | undefined,
  logId: string
): Begun => {
  if (beginning === undefined) return { position: undefined, seen: undefined, logId, begins: undefined }
  const { from, position, seen } = beginning
  // one that is kept up inline has no position, and one that was reset has nothing to continue
  const isContinued = before?.mode === "followed" && (from === undefined || from === before.begins)
  if (!isContinued || before.logId === undefined || before.logId === "") return { position, seen, logId, begins: from }
  return { position: before.position, seen: before.seen, logId: before.logId, begins: before.begins }
}

/**
 * Where a version begins that was reset. One that a runner has moved since, which was still at the start and did not have to
 * be opened again, has begun.
 */
export const beginAgain = (beginning: Beginning | undefined, there: Opened, logId: string): Omit<Begun, "begins"> =>
  beginning === undefined || there.position !== undefined
    ? { position: there.position, seen: there.seen, logId }
    : { position: beginning.position, seen: beginning.seen, logId }
