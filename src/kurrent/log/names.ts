/** Which streams of a server are those of a log, and what else it keeps beside them. */
import type { Filter } from "../../Recorder.ts"
import type { StreamName } from "../../StreamName.ts"
import * as StreamNames from "../../StreamName.ts"
import type { AllFilter } from "../client/filters.ts"
import { escape } from "../client/filters.ts"

/** Marks the category of side streams: no aggregate's name ends so. */
const SNAPSHOT = ":snapshot"

/** The names of a log's streams on the server. */
export interface Names {
  readonly toServer: (stream: StreamName) => string
  /** `undefined` where it is no stream of the log. */
  readonly fromServer: (name: string) => StreamName | undefined
  /** The side stream of its snapshots: in another category, and not in the total order of the log. */
  readonly snapshots: (stream: StreamName) => string
  /** Where the log keeps its id. */
  readonly log: string
  /** Why a stream can't be appended to, if it can't. */
  readonly problem: (stream: StreamName) => string | undefined
  /** The filter that the server runs, and what is to be looked at after it. */
  readonly filter: (filter: Filter | undefined) => AllFilter
}

/** What the prefix of a log may be, if it has one. */
export const isPrefix = (prefix: string): boolean => prefix === "" || /^[A-Za-z0-9_.:]{1,64}$/.test(prefix)

/** The log of all streams that begin with a prefix, which is empty if the server is the log's alone. */
export const make = (prefix: string): Names => {
  const own = escape(prefix)
  // a category of neither the server nor of snapshots, and an id
  const streams = `${own}(?!\\$)[^-]*(?<!${SNAPSHOT})-[\\s\\S]+`
  const isOwn = new RegExp(`^${streams}$`)
  const category = (name: string) => `${prefix}${name}-`
  // events of one stream mostly come together
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
    // without "-" it is no stream of any aggregate
    log: `${prefix}effect_eventsourcing_log`,
    problem: (stream) => {
      if (isOwn.test(prefix + stream)) return undefined
      return stream.startsWith("$")
        ? `the stream "${stream}" has a name that begins with $, which is the server's own`
        : `the stream "${stream}" has a name of a side stream for snapshots`
    },
    filter: (filter) => {
      if (filter?.types !== undefined) return { on: "type", include: filter.types.map(escape) }
      if (filter?.categories !== undefined) {
        // a prefix list can't be empty
        return filter.categories.length === 0
          ? { on: "stream", include: [] }
          : { on: "stream", prefixes: filter.categories.map(category) }
      }
      return { on: "stream", include: [streams] }
    }
  }
}
