/**
 * What a runner knows of rows that remain in the index after a decision. It is valid as long as the row is unchanged.
 */
import type { Failure } from "../../Deadline.ts"
import type { Pauses } from "../concurrency/pauses.ts"
import type { Row } from "./dueRow.ts"

/** What is known of a row. */
interface Entry<out E> {
  readonly dueAt: number
  readonly version: number
  /** When to decide again. */
  readonly until: number
  readonly failure: Failure<E> | undefined
  readonly pauses: Pauses | undefined
  /** The last pass that has seen it. */
  pass: number
}

export interface Known<in out E> {
  /** Begins a pass over the index. */
  readonly beginPass: () => void
  readonly note: (row: Row, until: number, failed?: { readonly failure: Failure<E>; readonly pauses: Pauses }) => void
  /** What is known of this very row; `undefined` if the aggregate has changed. */
  readonly of: (row: Row) => Pick<Entry<E>, "failure" | "pauses"> | undefined
  /** Whether it is too early to decide on a row. */
  readonly isWaiting: (row: Row, now: number) => boolean
  /** Forgets rows that are no longer in the index: this pass has seen everything that is due before a time. */
  readonly sweep: (before: number) => void
  /** When to look at the index again, because of a row that will be due or of rows that are not in `except`. */
  readonly next: (dueAt: number | undefined, except: ReadonlySet<string>) => number | undefined
  /** The current failures, in the order in which they are due; the same array until they change. */
  readonly failures: () => ReadonlyArray<Failure<E>>
  readonly forget: () => void
}

export const makeKnown = <E>(): Known<E> => {
  const entries = new Map<string, Entry<E>>()
  let failures: ReadonlyArray<Failure<E>> | undefined = []
  let passes = 0
  const isSame = (one: Entry<E> | undefined, row: Row): one is Entry<E> =>
    one !== undefined && one.version === row.version && one.dueAt === row.dueAt
  return {
    beginPass: () => {
      passes++
    },
    note: (row, until, failed) => {
      if (failed !== undefined || entries.get(row.id)?.failure !== undefined) failures = undefined
      const { dueAt, id, version } = row
      entries.set(id, { dueAt, version, until, failure: failed?.failure, pauses: failed?.pauses, pass: passes })
    },
    of: (row) => {
      const one = entries.get(row.id)
      return isSame(one, row) ? one : undefined
    },
    isWaiting: (row, now) => {
      const one = entries.get(row.id)
      if (!isSame(one, row)) return false
      one.pass = passes
      return now < one.until
    },
    sweep: (before) => {
      for (const [id, one] of entries) {
        if (one.pass === passes || one.dueAt >= before) continue
        if (one.failure !== undefined) failures = undefined
        entries.delete(id)
      }
    },
    next: (dueAt, except) => {
      let least = dueAt ?? Number.POSITIVE_INFINITY
      for (const [id, { until }] of entries) if (until < least && !except.has(id)) least = until
      return least === Number.POSITIVE_INFINITY ? undefined : least
    },
    failures: () => {
      failures ??= [...entries.values()].flatMap(({ failure }) => failure ?? []).sort((a, b) => a.dueAt - b.dueAt)
      return failures
    },
    forget: () => {
      entries.clear()
      failures = []
    }
  }
}
