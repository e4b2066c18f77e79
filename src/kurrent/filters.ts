/** Filters that run in the server, which knows one regular expression or list of prefixes, on streams or on types. */
import { eventTypeFilter, streamNameFilter } from "@kurrent/kurrentdb-client"

/** Which events of `$all`. */
export interface AllFilter {
  /** Whether the patterns are held against the names of streams or of event types. */
  readonly on: "stream" | "type"
  /** Beginnings of names, of which one has to fit. They are cheaper than patterns. */
  readonly prefixes?: ReadonlyArray<string> | undefined
  /** Patterns of the whole name, of which one has to fit; not with prefixes. Regular expressions of .NET. */
  readonly include?: ReadonlyArray<string> | undefined
  /** Patterns of the whole name, of which none may fit; not with prefixes. */
  readonly exclude?: ReadonlyArray<string> | undefined
}

/** Everything but what the server records for itself. */
export const withoutSystemEvents: AllFilter = { on: "type", exclude: ["[$].*"] }

/** The text as a pattern that fits it alone. */
export const escape = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** The end of a name: in .NET, `$` alone also stands before a line feed there. */
const END = "$(?!\\n)"

/** The one expression that is all of a filter's patterns; `undefined` where it has none. */
export const toRegex = ({ include, exclude }: AllFilter): string | undefined => {
  const anyOf = (patterns: ReadonlyArray<string>) => `(?:${patterns.map((pattern) => `(?:${pattern})`).join("|")})`
  const not = exclude === undefined || exclude.length === 0 ? "" : `(?!${anyOf(exclude)}${END})`
  if (include === undefined) return not === "" ? undefined : `^${not}`
  return include.length === 0 ? "^(?!)" : `^${not}${anyOf(include)}${END}`
}

interface Checkpoints {
  readonly checkpointReached: (
    subscription: unknown,
    position: { readonly commit: bigint; readonly prepare: bigint }
  ) => void
  readonly checkpointInterval: number
  readonly maxSearchWindow: number
}

/** The filter as the client takes it. */
export const toClientFilter = (filter: AllFilter, checkpoints?: Checkpoints) => {
  const make = filter.on === "stream" ? streamNameFilter : eventTypeFilter
  const options = checkpoints ?? {}
  if (filter.prefixes !== undefined) return make({ ...options, prefixes: [...filter.prefixes] })
  const regex = toRegex(filter)
  return regex === undefined ? undefined : make({ ...options, regex })
}
