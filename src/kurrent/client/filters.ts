/** Filters that run in the server, which knows one regular expression or list of prefixes, on streams or on types. */
import { eventTypeFilter, streamNameFilter } from "@kurrent/kurrentdb-client"

/** Names that begin with one of these. Cheaper for the server than patterns. */
export interface PrefixFilter {
  /** Whether it is held against the names of streams or of event types. */
  readonly on: "stream" | "type"
  /** Beginnings of names, of which one has to fit; if there are none, nothing does. */
  readonly prefixes: ReadonlyArray<string>
  readonly include?: undefined
  readonly exclude?: undefined
}

/** Names that fit patterns: regular expressions of .NET, each of the whole name. */
export interface PatternFilter {
  /** Whether it is held against the names of streams or of event types. */
  readonly on: "stream" | "type"
  readonly prefixes?: undefined
  /** Patterns of which one has to fit; an empty list fits nothing. Default: any name. */
  readonly include?: ReadonlyArray<string> | undefined
  /** Patterns of which none may fit, also where one of `include` does. Default: none. */
  readonly exclude?: ReadonlyArray<string> | undefined
}

/** Which events of `$all`; the server looks at the names of streams or at those of types, not at both. */
export type AllFilter = PrefixFilter | PatternFilter

/** Everything but what the server records for itself. */
export const withoutSystemEvents: AllFilter = { on: "type", exclude: ["[$].*"] }

/** The text as a pattern that fits it alone. */
export const escape = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** The end of a name: in .NET, `$` alone also stands before a line feed there. */
const END = "$(?!\\n)"

/** Fits no name. */
const NOTHING = "^(?!)"

/** The one expression that is all of a filter's patterns; `undefined` where it has none. */
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

/** The filter as the client takes it. */
export const toClientFilter = (filter: AllFilter, checkpoints?: Checkpoints) => {
  const make = filter.on === "stream" ? streamNameFilter : eventTypeFilter
  const options = checkpoints ?? {}
  // a list has to have something in it
  if (filter.prefixes !== undefined && filter.prefixes.length > 0) {
    return make({ ...options, prefixes: [...filter.prefixes] })
  }
  const regex = filter.prefixes === undefined ? toRegex(filter) : NOTHING
  return regex === undefined ? undefined : make({ ...options, regex })
}
