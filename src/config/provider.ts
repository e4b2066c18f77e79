/** Where the variables are found: with the prefix of an application first, then without. */
import type { Config } from "effect"
import { ConfigProvider, Effect } from "effect"
import { problem } from "./problem.ts"
import * as Variables from "./variables.ts"

/** The prefix of an application's variables: `ORDERS_` for "orders"; without an application, nothing. */
export const prefixOf = (application: string | undefined): string => {
  if (application === undefined) return ""
  if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(application)) {
    throw new Error(
      `the name of an application must begin with a letter and consist of letters, digits, "-" and "_", got "${application}"`
    )
  }
  return `${application.toUpperCase().replaceAll("-", "_")}_`
}

type Provider = ConfigProvider.ConfigProvider

/** The text of a variable; `undefined` if it is not set. */
export const textOf = (
  provider: Provider,
  name: string
): Effect.Effect<string | undefined, ConfigProvider.SourceError> =>
  Effect.map(provider.load([name]), (node) => (node?.value === "" ? undefined : node?.value))

/** The text of a variable in the current configuration; `undefined` if it is not set. */
export const variable = (name: string): Effect.Effect<string | undefined, Config.ConfigError> =>
  Effect.flatMap(ConfigProvider.ConfigProvider, (provider) =>
    Effect.mapError(textOf(provider, name), ({ message, cause }) => problem(message, cause))
  )

/** Reads the library's variables with the prefix first, then without. Any others are read as they are. */
export const withPrefix = (outer: Provider, prefix: string): Provider => {
  if (prefix === "") return outer
  const isSet = (name: string) => Effect.map(textOf(outer, `${prefix}${name}`), (text) => text !== undefined)
  const overriding = (name: string) =>
    [...Variables.overrides].filter(([, overridden]) => overridden.includes(name)).map(([by]) => by)
  return ConfigProvider.make((path) =>
    Effect.gen(function* () {
      const [name] = path
      if (typeof name !== "string" || path.length > 1 || !Variables.all.has(name)) return yield* outer.load(path)
      if (yield* isSet(name)) return yield* outer.load([`${prefix}${name}`])
      for (const by of overriding(name)) if (yield* isSet(by)) return undefined
      return yield* outer.load(path)
    })
  )
}

/** Runs an effect that reads the library's variables with the prefix first, then without. */
export const withVariables = <A, E, R>(self: Effect.Effect<A, E, R>, prefix: string): Effect.Effect<A, E, R> =>
  Effect.updateService(self, ConfigProvider.ConfigProvider, (outer) => withPrefix(outer, prefix))
