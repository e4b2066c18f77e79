import type { Position } from "../../Position.ts"
import type { ChangeSignal } from "../following/changeSignal.ts"
import { makeChangeSignal } from "../following/changeSignal.ts"
import type { Stale } from "./stale.ts"

/** What a process knows about a projection without querying its database. */
export interface LocalProgress {
  /** Notifies of each change made in this process. */
  readonly changes: ChangeSignal
  /** Notifies when a version is reset, switched or removed: changes that its runner would not see in the log. */
  readonly versionChanges: ChangeSignal
  /** The position that a version has reached at least. */
  readonly position: (version: number) => Position | undefined
  readonly reached: (version: number, position: Position) => void
  readonly forget: (version: number) => void
  /** Notifies when a caller in this process begins to wait for a position. */
  readonly newWaiters: ChangeSignal
  /** Registers a position that is waited for. Returns a function that removes it. */
  readonly expect: (position: Position) => () => void
  /** Whether somebody waits for a position after one and up to another. */
  readonly isAwaited: (after: Position | undefined, upTo: Position | undefined) => boolean
  /** Reports that another version has become current. */
  readonly switched: () => void
  /** Why the runner of a version in this process has stopped; removed once another runner makes progress. */
  readonly stopped: Map<number, string>
  /** The event of a version on which a handler in this process fails, and why; removed once it succeeds. */
  readonly blocked: Map<number, string>
  /**
   * Adds a runner of a version with its definition, and returns a function that removes it; `undefined` if a runner
   * with another definition is running.
   */
  readonly addRunner: (version: number, source: string) => (() => void) | undefined
  /** Whether a runner of any version is running, standing by or starting here. */
  readonly hasRunner: () => boolean
  /** Whether a runner of a version with another definition is here. */
  readonly runsOtherwise: (version: number, source: string) => boolean
  /**
   * Whether a version is defined differently from its runners here, or, if there are none, from when it was last run or
   * first read here.
   */
  readonly isDefinedOtherwise: (version: number, source: string) => boolean
  /** Versions that are read here and lag another version. */
  readonly stale: Map<number, Stale>
}

/** One for each projection. */
export const makeLocalProgress = (): ((projection: string) => LocalProgress) => {
  const byProjection = new Map<string, LocalProgress>()
  return (projection) => {
    const known = byProjection.get(projection)
    if (known !== undefined) return known
    const positions = new Map<number, Position>()
    const stopped = new Map<number, string>()
    const blocked = new Map<number, string>()
    const runners = new Map<number, { readonly source: string; count: number }>()
    /** The definitions of versions, as far as they are known. */
    const sources = new Map<number, string>()
    const changes = makeChangeSignal()
    const versionChanges = makeChangeSignal()
    const newWaiters = makeChangeSignal()
    const awaited = new Set<{ readonly position: Position }>()
    const progress: LocalProgress = {
      changes,
      versionChanges,
      position: (version) => positions.get(version),
      reached: (version, position) => {
        positions.set(version, position)
        stopped.delete(version)
        blocked.delete(version)
        changes.notify()
      },
      forget: (version) => {
        positions.delete(version)
        blocked.delete(version)
        sources.delete(version)
        changes.notify()
        versionChanges.notify()
      },
      newWaiters,
      expect: (position) => {
        const wait = { position }
        awaited.add(wait)
        newWaiters.notify()
        return () => {
          awaited.delete(wait)
        }
      },
      isAwaited: (after, upTo) => {
        if (upTo === undefined) return false
        for (const { position } of awaited)
          if (position <= upTo && (after === undefined || position > after)) return true
        return false
      },
      switched: () => {
        changes.notify()
        versionChanges.notify()
      },
      stopped,
      blocked,
      addRunner: (version, source) => {
        const running = runners.get(version) ?? { source, count: 0 }
        if (running.source !== source) return undefined
        runners.set(version, running)
        sources.set(version, source)
        running.count++
        return () => {
          if (--running.count === 0) runners.delete(version)
          // wakes readers that wait for the runner to open its view
          changes.notify()
        }
      },
      runsOtherwise: (version, source) => (runners.get(version)?.source ?? source) !== source,
      hasRunner: () => runners.size > 0,
      isDefinedOtherwise: (version, source) => {
        const known = runners.get(version)?.source ?? sources.get(version)
        if (known === undefined) sources.set(version, source)
        return known !== undefined && known !== source
      },
      stale: new Map()
    }
    byProjection.set(projection, progress)
    return progress
  }
}
