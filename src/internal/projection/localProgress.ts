import type { Position } from "../../Position.ts"
import type { Growth } from "../following/follow.ts"
import { makeGrowth } from "../following/follow.ts"
import type { Stale } from "./stale.ts"

/** What a process knows of a projection without asking its database. */
export interface Local {
  /** Grows with each change that is made in this process. */
  readonly growth: Growth
  /** Grows when a version is reset, switched or removed: what its runner would not see in the log. */
  readonly upheaval: Growth
  /** How far a version has come at least. */
  readonly position: (version: number) => Position | undefined
  readonly reached: (version: number, position: Position) => void
  readonly forget: (version: number) => void
  /** Grows when somebody in this process begins to wait for a position. */
  readonly demand: Growth
  /** Says that a position is waited for; returns what says that it is no longer. */
  readonly expect: (position: Position) => () => void
  /** Whether a position is waited for that is after one and up to another. */
  readonly isAwaited: (after: Position | undefined, upTo: Position | undefined) => boolean
  /** Another version is the current one. */
  readonly switched: () => void
  /** Why the runner of a version in this process has stopped; until another does something. */
  readonly stopped: Map<number, string>
  /** On what event of a version a handler in this process fails, and why; until it does not. */
  readonly blocked: Map<number, string>
  /**
   * Adds a runner of a version, as it is defined, and answers what removes it; `undefined` where one runs that is defined
   * otherwise.
   */
  readonly addRunner: (version: number, source: string) => (() => void) | undefined
  /** Whether a runner of any version works, stands by or begins here. */
  readonly hasRunner: () => boolean
  /** Whether a runner of a version is here that is defined otherwise. */
  readonly runsOtherwise: (version: number, source: string) => boolean
  /**
   * Whether a version is defined otherwise than its runners here are; without one, than it was when it was last run or first
   * read here.
   */
  readonly isDefinedOtherwise: (version: number, source: string) => boolean
  /** Versions that are read here and are not as far as another. */
  readonly stale: Map<number, Stale>
}

/** One for each projection. */
export const makeLocals = (): ((projection: string) => Local) => {
  const locals = new Map<string, Local>()
  return (projection) => {
    const known = locals.get(projection)
    if (known !== undefined) return known
    const positions = new Map<number, Position>()
    const stopped = new Map<number, string>()
    const blocked = new Map<number, string>()
    const runners = new Map<number, { readonly source: string; count: number }>()
    /** How versions are defined, as far as is known. */
    const sources = new Map<number, string>()
    const growth = makeGrowth()
    const upheaval = makeGrowth()
    const demand = makeGrowth()
    const awaited = new Set<{ readonly position: Position }>()
    const made: Local = {
      growth,
      upheaval,
      position: (version) => positions.get(version),
      reached: (version, position) => {
        positions.set(version, position)
        stopped.delete(version)
        blocked.delete(version)
        growth.notify()
      },
      forget: (version) => {
        positions.delete(version)
        blocked.delete(version)
        sources.delete(version)
        growth.notify()
        upheaval.notify()
      },
      demand,
      expect: (position) => {
        const one = { position }
        awaited.add(one)
        demand.notify()
        return () => {
          awaited.delete(one)
        }
      },
      isAwaited: (after, upTo) => {
        if (upTo === undefined) return false
        for (const { position } of awaited)
          if (position <= upTo && (after === undefined || position > after)) return true
        return false
      },
      switched: () => {
        growth.notify()
        upheaval.notify()
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
          // whoever waits for it to open its view
          growth.notify()
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
    locals.set(projection, made)
    return made
  }
}
