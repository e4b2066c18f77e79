/**
 * Filters that run on the server, which accepts one regular expression or one list of prefixes, for streams or for
 * types.
 */
import { eventTypeFilter, streamNameFilter } from "@kurrent/kurrentdb-client"

/** Names that begin with one of these prefixes. Cheaper for the server than patterns. */
export interface PrefixFilter {
  /** Whether it is matched against the names of streams or of event types. */
  readonly on: "stream" | "type"
  /** Prefixes of which one has to match. An empty list matches nothing. */
  readonly prefixes: ReadonlyArray<string>
  readonly include?: undefined
  readonly exclude?: undefined
}

/** Names that match patterns: .NET regular expressions, each of which has to match the whole name. */
export interface PatternFilter {
  /** Whether it is matched against the names of streams or of event types. */
  readonly on: "stream" | "type"
  readonly prefixes?: undefined
  /** Patterns of which one has to match. An empty list matches nothing. Default: any name. */
  readonly include?: ReadonlyArray<string> | undefined
  /** Patterns of which none may match, even if one of `include` does. Default: none. */
  readonly exclude?: ReadonlyArray<string> | undefined
}

/** Which events of `$all`. The server looks at the names of streams or at those of types, not at both. */
export type AllFilter = PrefixFilter | PatternFilter

/** Everything except the events that the server records for itself. */
export const withoutSystemEvents: AllFilter = { on: "type", exclude: ["[$].*"] }

/** The text as a pattern that matches only this text. */
export const escape = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** The end of a name: in .NET, `$` alone also matches before a final line feed. */
const END = "$(?!\\n)"

/** Matches no name. */
const NOTHING = "^(?!)"

/** One expression for all of a filter's patterns; `undefined` if it has none. */
export const toRegex = ({ include, exclude }: AllFilter): string | undefined => {
  const anyOf = (patterns: ReadonlyArray<string>) => `(?:${patterns.map((pattern) => `(?:${pattern})`).join("|")})`
  const not = exclude === undefined || exclude.length === 0 ? "" : `(?!${anyOf(exclude)}${END})`
  if (include === undefined) return not === "" ? undefined : `^${not}`
  return include.length === 0 ? NOTHING : `^${not}${anyOf(include)}${END}`
}

interface Checkpoints {
  readonly checkpointReached: (
    subscription: unknown,
    position: { readonly commit: bigint; readonly prepare: bigint }
  ) => void
  readonly checkpointInterval: number
  readonly maxSearchWindow: number
}

/** The filter in the client's form. */
export const toClientFilter = (filter: AllFilter, checkpoints?: Checkpoints) => {
  const make = filter.on === "stream" ? streamNameFilter : eventTypeFilter
  const options = checkpoints ?? {}
  // the client does not accept an empty list
  if (filter.prefixes !== undefined && filter.prefixes.length > 0) {
    return make({ ...options, prefixes: [...filter.prefixes] })
  }
  const regex = filter.prefixes === undefined ? toRegex(filter) : NOTHING
  return regex === undefined ? undefined : make({ ...options, regex })
}
