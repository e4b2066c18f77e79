import type { Position } from "../../Position.ts"
import type { Beginning, Opened, Seen } from "../../ViewStore.ts"

/** Where a version begins, and in which log. */
export interface Begun {
  readonly position: Position | undefined
  readonly seen: Seen | undefined
  readonly logId: string
  /** Where it is defined to begin, or where the first version that it continues was; as text. */
  readonly begins: string | undefined
}

type Before = Opened & { readonly begins: string | undefined }

/**
 * Whether a new version continues from the position of the version that it replaces. A side effect does, unless it is
 * defined to begin elsewhere than that version was, which is an explicit order. An inline projection has no position to
 * continue from, and a version that was reset has nothing to continue.
 */
export const continues = (beginning: Beginning | undefined, before: Before | undefined): before is Before =>
  beginning !== undefined &&
  before?.mode === "followed" &&
  before.logId !== undefined &&
  before.logId !== "" &&
  (beginning.from === undefined || beginning.from === before.begins)

/**
 * Where a new version begins: a view at the start; a side effect at the position of the version before it, or where it
 * is defined to begin.
 */
export const beginAt = (beginning: Beginning | undefined, before: Before | undefined, logId: string): Begun => {
  if (continues(beginning, before)) {
    return { position: before.position, seen: before.seen, logId: before.logId ?? logId, begins: before.begins }
  }
  return { position: beginning?.position, seen: beginning?.seen, logId, begins: beginning?.from }
}

/**
 * Where a version that was reset begins. A version that was still at the start and did not have to be opened again, but
 * has been moved by a runner since, has already begun.
 */
export const beginAgain = (beginning: Beginning | undefined, opened: Opened, logId: string): Omit<Begun, "begins"> =>
  beginning === undefined || opened.position !== undefined
    ? { position: opened.position, seen: opened.seen, logId }
    : { position: beginning.position, seen: beginning.seen, logId }
