/** Which streams of a server belong to a log, and which other streams the log keeps there. */
import type { Filter } from "../../Recorder.ts"
import type { StreamName } from "../../StreamName.ts"
import * as StreamNames from "../../StreamName.ts"
import type * as Tracking from "../../Tracking.ts"
import type { AllFilter } from "../client/filters.ts"
import { escape } from "../client/filters.ts"

/** Marks the category of side streams: no aggregate's name ends with it. */
const SNAPSHOT = ":snapshot"

/** The names of a log's streams on the server. */
export interface Names {
  readonly toServer: (stream: StreamName) => string
  /** `undefined` if it is not a stream of the log. */
  readonly fromServer: (name: string) => StreamName | undefined
  /** The side stream of its snapshots. It has another category and is not in the total order of the log. */
  readonly snapshots: (stream: StreamName) => string
  /** The stream in which the log keeps its id. */
  readonly log: string
  /** The stream of a tracking. */
  readonly tracking: (key: Tracking.Key) => string
  /** Why a stream can't be appended to, or `undefined` if it can. */
  readonly problem: (stream: StreamName) => string | undefined
  /** The filter that the server runs. Events that pass it still have to be matched. */
  readonly filter: (filter: Filter | undefined) => AllFilter
}

/** Whether a log may have this prefix. An empty prefix means that the log has none. */
export const isPrefix = (prefix: string): boolean => prefix === "" || /^[A-Za-z0-9_.:]{1,64}$/.test(prefix)

/**
 * A part of a name that is not the name of a stream of any aggregate, and that differs from every other even if case is
 * ignored, as the server does in some places.
 */
const escaped = (part: string | number): string =>
  `${part}`.replace(/[^a-z0-9_]/g, (unit) => `=${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** The log of all streams that begin with a prefix. The prefix is empty if the log has the server to itself. */
export const make = (prefix: string): Names => {
  const own = escape(prefix)
  // a category (neither one of the server's own nor one of snapshots) and an id
  const streams = `${own}(?!\\$)[^-]*(?<!${SNAPSHOT})-[\\s\\S]+`
  const isOwn = new RegExp(`^${streams}$`)
  const category = (name: string) => `${prefix}${name}-`
  // consecutive events are often of the same stream
  let lastName: string | undefined
  let lastStream: StreamName | undefined
  return {
    toServer: (stream) => prefix + stream,
    fromServer: (name) => {
      if (name !== lastName) {
        lastName = name
        lastStream = isOwn.test(name) ? StreamNames.fromStorage(name.slice(prefix.length)) : undefined
      }
      return lastStream
    },
    snapshots: (stream) => {
      const dash = stream.indexOf("-")
      return `${prefix}${stream.slice(0, dash)}${SNAPSHOT}${stream.slice(dash)}`
    },
    // without "-" it is not a stream of any aggregate
    log: `${prefix}effect_eventsourcing_log`,
    tracking: ({ projection, version, upstream, slice }) =>
      `${prefix}effect_eventsourcing_tracking:${[projection, version, upstream, slice].map(escaped).join(":")}`,
    problem: (stream) => {
      if (isOwn.test(prefix + stream)) return undefined
      return stream.startsWith("$")
        ? `the stream name "${stream}" begins with "$", as only the server's own streams do`
        : `the stream name "${stream}" is reserved for the snapshots of another stream`
    },
    filter: (filter) => {
      if (filter?.types !== undefined) return { on: "type", include: filter.types.map(escape) }
      if (filter?.categories !== undefined) {
        // the server refuses an empty list of prefixes
        return filter.categories.length === 0
          ? { on: "stream", include: [] }
          : { on: "stream", prefixes: filter.categories.map(category) }
      }
      return { on: "stream", include: [streams] }
    }
  }
}
