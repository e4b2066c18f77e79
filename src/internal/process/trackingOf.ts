/**
 * The position of a process in its log: the tracking of its version, which also shows when a higher version has taken
 * over.
 */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { ProcessSuperseded } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { TrackedAppend } from "../../TrackedAppend.ts"
import type * as Tracking from "../../Tracking.ts"
import { eventAt } from "../following/eventAt.ts"

/** Where a process starts that has never run. */
interface Beginning {
  readonly name: string
  readonly version: number
  readonly begin: "start" | "end"
}

/** The upstream in the tracking key, for the log that the process itself records in. */
const OWN_LOG = "log"

/** The tracking of a process. */
export const trackingOf = ({ name, version }: Pick<Beginning, "name" | "version">): Tracking.Key => ({
  projection: name,
  version,
  upstream: OWN_LOG,
  slice: 0
})

/** The largest position that every backend can store. */
const LARGEST = 2n ** 63n - 1n

/** The highest version of a process. */
export const MAX_VERSION = 999_999

/**
 * The position of a version that was superseded: after everything in the log, so that none of its moves succeeds any
 * more.
 */
const supersededBy = (version: number): Position => fromStorage(LARGEST - BigInt(version))

/** The version that has superseded the version with this position, if any. */
export const successorOf = (position: Position | undefined): number | undefined =>
  position !== undefined && position >= LARGEST - BigInt(MAX_VERSION) ? Number(LARGEST - position) : undefined

/** The start of a log, for a process that begins at the end of an empty one: no event has this position. */
const START = fromStorage(0n)

/** The position after which reading continues. */
export const readAfter = (position: Position | undefined): Position | undefined =>
  position === START ? undefined : position

/**
 * The position from which a process continues, and takes over where lower versions are. Each step is a compare-and-swap,
 * so that any of them can be the last one before a crash, and two runners can take them at once:
 *
 * 1. The version gets the position of the version before it.
 * 2. The lower versions that have not been superseded are, the lowest first: but only if they have not moved meanwhile;
 *    else from the beginning. So none of them records anything after this.
 * 3. If there was none before it, it begins where it is defined to begin. The end of the log is recorded at once: a
 *    restart must not find a later one.
 *
 * `end` is the end of the log when the process was started, if it is known.
 */
export const takeOver = Effect.fnUntraced(function* (
  { append, progress }: TrackedAppend["Service"],
  beginning: Beginning,
  reader: Pick<LogReader["Service"], "head" | "logId" | "readAll">,
  end: { readonly head: Position | undefined } | undefined
): Effect.fn.Return<Tracking.Progress | undefined, ProcessSuperseded | RecorderError> {
  const { begin, name, version } = beginning
  const moved = (key: Tracking.Key, from: Position | undefined, { position: to, note }: Tracking.Progress) =>
    append([], { key, from, to, note }).pipe(
      Effect.as(true),
      // nothing is appended, so no stream can be at another version
      Effect.catchTags({
        TrackingConflict: () => Effect.succeed(false),
        WrongExpectedVersion: () => Effect.succeed(false)
      })
    )
  const key = trackingOf(beginning)
  while (true) {
    const own = yield* progress(key)
    const successor = successorOf(own?.position)
    if (successor !== undefined) return yield* new ProcessSuperseded({ process: name, version, by: successor })

    /** The versions that may still be working, the highest first. */
    const lower: Array<{ readonly key: Tracking.Key; readonly from: Tracking.Progress | undefined }> = []
    for (let other = version - 1; other > 0; other--) {
      const key = trackingOf({ name, version: other })
      const from = yield* progress(key)
      const by = successorOf(from?.position)
      // the versions below it were superseded before it was
      if (by !== undefined) {
        if (by > version) return yield* new ProcessSuperseded({ process: name, version, by })
        break
      }
      lower.push({ key, from })
    }
    const inherited = lower.find(({ from }) => from !== undefined)?.from
    if (inherited !== undefined && (own === undefined || own.position < inherited.position)) {
      if (!(yield* moved(key, own?.position, inherited))) continue
    }
    let isOverall = true
    for (const { key, from } of lower.toReversed()) {
      isOverall &&= yield* moved(key, from?.position, { position: supersededBy(version), note: undefined })
      if (!isOverall) break
    }
    if (!isOverall) continue
    if (lower.length > 0) {
      yield* Effect.logInfo(`version ${version} of process "${name}" has taken over`)
      continue
    }
    if (own !== undefined || begin === "start") return own
    const last = end === undefined ? yield* reader.head : end.head
    const eventId = last === undefined ? undefined : (yield* eventAt(reader, last))?.id
    const from: Tracking.Progress = { position: last ?? START, note: { logId: reader.logId, eventId } }
    if (yield* moved(key, undefined, from)) return from
  }
})
