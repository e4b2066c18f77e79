import type { Position } from "../../Position.ts"
import type { Beginning, Opened, Seen } from "../../ViewStore.ts"

/** Where a version begins, and of which log that is. */
export interface Begun {
  readonly position: Position | undefined
  readonly seen: Seen | undefined
  readonly logId: string
  /** Where it is defined to begin, or was when the first of its line was; in text. */
  readonly begins: string | undefined
}

type Before = Opened & { readonly begins: string | undefined }

/**
 * Whether a new version continues where the version is whose place it takes: a side effect does, unless it is defined to
 * begin elsewhere than that was, which is an order. One that is kept up inline has no position, and one that was reset has
 * nothing to continue.
 */
export const continues = (beginning: Beginning | undefined, before: Before | undefined): before is Before =>
  beginning !== undefined &&
  before?.mode === "followed" &&
  before.logId !== undefined &&
  before.logId !== "" &&
  (beginning.from === undefined || beginning.from === before.begins)

/** Where a new version begins: a view at the start, a side effect where the one before is, or where it is defined to. */
export const beginAt = (beginning: Beginning | undefined, before: Before | undefined, logId: string): Begun => {
  if (continues(beginning, before)) {
    return { position: before.position, seen: before.seen, logId: before.logId ?? logId, begins: before.begins }
  }
  return { position: beginning?.position, seen: beginning?.seen, logId, begins: beginning?.from }
}

/**
 * Where a version begins that was reset. One that a runner has moved since, which was still at the start and did not have to
 * be opened again, has begun.
 */
export const beginAgain = (beginning: Beginning | undefined, there: Opened, logId: string): Omit<Begun, "begins"> =>
  beginning === undefined || there.position !== undefined
    ? { position: there.position, seen: there.seen, logId }
    : { position: beginning.position, seen: beginning.seen, logId }
