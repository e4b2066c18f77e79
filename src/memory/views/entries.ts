/** The versions of projections in memory: their values, and all else that is stored of them. */
import { Semaphore } from "effect"
import type { LocalProgress } from "../../internal/projection/localProgress.ts"
import { makeLocalProgress } from "../../internal/projection/localProgress.ts"
import { keyText } from "../../internal/projection/trackingKey.ts"
import type { Position } from "../../Position.ts"
import type * as Tracking from "../../Tracking.ts"
import type { DeadLetter, Mode, Opened, Progress, Seen, Status } from "../../ViewStore.ts"

/** A projection, whatever its version. */
export type ProjectionKey = Omit<Tracking.Key, "version">

/** A version of a projection. */
export interface Entry {
  readonly key: Tracking.Key
  readonly mode: Mode
  status: Status
  ready: boolean
  position: Position | undefined
  seen: Seen | undefined
  ignored: ReadonlyArray<string> | undefined
  begins: string | undefined
  logId: string | undefined
  aggregates: ReadonlyArray<string>
  state: unknown
  letters: ReadonlyArray<DeadLetter>
}

/** Which runner may work on a version, and until when. */
export interface Lease {
  readonly holder: string
  readonly until: number
}

/** The shared parts of a view store in memory. Both maps are by the text of a version's key. */
export interface ViewMemory {
  readonly entries: Map<string, Entry>
  readonly leases: Map<string, Lease>
  readonly localProgress: (projection: string) => LocalProgress
  /** One transaction at a time: changes by handlers in between belong to no other transaction. */
  readonly exclusively: Semaphore.Semaphore["withPermit"]
}

export const makeViewMemory = (): ViewMemory => ({
  entries: new Map(),
  leases: new Map(),
  localProgress: makeLocalProgress(),
  exclusively: Semaphore.makeUnsafe(1).withPermit
})

export const entryOf = ({ entries }: ViewMemory, key: Tracking.Key): Entry | undefined => entries.get(keyText(key))

/** The versions of a projection, the lowest first. */
export const versionsOf = (
  { entries }: ViewMemory,
  { projection, upstream, slice }: ProjectionKey
): ReadonlyArray<Entry> =>
  [...entries.values()]
    .filter(({ key }) => key.projection === projection && key.upstream === upstream && key.slice === slice)
    .sort((a, b) => a.key.version - b.key.version)

export const currentOf = (memory: ViewMemory, key: ProjectionKey): Entry | undefined =>
  versionsOf(memory, key).find(({ status }) => status === "current")

/** How far a version has come. */
export const toProgress = ({ key, position, status, ready, mode, logId, aggregates }: Entry): Progress => ({
  version: key.version,
  position,
  status,
  ready: ready || status === "current",
  mode,
  logId,
  aggregates
})

export const toOpened = (entry: Entry): Opened => ({
  ...toProgress(entry),
  seen: entry.seen,
  ignored: entry.ignored
})
