/** Which events of $all a read or a subscription matches. */
import type { LogEvent } from "./Log.ts"

export type Filter = (event: LogEvent) => boolean

/** The filter options that reads and persistent subscriptions have in common. */
interface FilterOptions {
  hasStreamIdentifier(): boolean
  getStreamIdentifier(): Expression | undefined
  getEventType(): Expression | undefined
}

interface Expression {
  getRegex(): string
  getPrefixList(): Array<string>
}

/** Events that $all never contains. */
const hidden = /^(\$epoch-information|\$persistentsubscription-\$all::.*-(checkpoint|parked))$/s

export const everything: Filter = (event) => !(event.stream.startsWith("$") && hidden.test(event.stream))

/** Throws for an invalid regular expression. */
export const filterOf = (options: FilterOptions): Filter => {
  const byStream = options.hasStreamIdentifier()
  const expression = byStream ? options.getStreamIdentifier() : options.getEventType()
  const regex = expression?.getRegex() ?? ""
  const prefixes = expression?.getPrefixList() ?? []
  const pattern = regex === "" ? undefined : compile(regex)
  const wants = (text: string) =>
    pattern === undefined ? prefixes.some((prefix) => text.startsWith(prefix)) : pattern.test(text)
  return (event) => everything(event) && wants(byStream ? event.stream : event.type)
}

/**
 * The server's are .NET's: `\p{L}` means a letter, as in JavaScript's Unicode mode only, and `\-` is allowed, as only
 * outside of that mode.
 */
const compile = (regex: string): RegExp => {
  try {
    return new RegExp(regex, "u")
  } catch {
    return new RegExp(regex)
  }
}
