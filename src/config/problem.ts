/** Errors of the configuration, in the form in which missing and invalid variables are reported. */
import type { Config } from "effect"
import { ConfigProvider, Effect, Layer } from "effect"
import { ConfigError } from "../internal/backend/settings.ts"

/** An error with this message. */
export const problem = (message: string, cause?: unknown): Config.ConfigError =>
  new ConfigError({ cause: new ConfigProvider.SourceError({ message, cause }) }, message)

/** Adds to an error of the configuration that its variables may have a prefix. */
export const withHint =
  (prefix: string) =>
  <E>(error: E | Config.ConfigError): E | Config.ConfigError =>
    error instanceof ConfigError && prefix !== ""
      ? new ConfigError(error, `${error.message} (each variable is read with the prefix ${prefix} first)`)
      : error

/** Adds that to all errors of building a layer. */
export const reported = <A, E, R>(
  layer: Layer.Layer<A, E | Config.ConfigError, R>,
  prefix: string
): Layer.Layer<A, E | Config.ConfigError, R> =>
  prefix === "" ? layer : Layer.catch(layer, (error) => Layer.effectContext(Effect.fail(withHint(prefix)<E>(error))))

/** "a, b or c". */
export const choice = (names: ReadonlyArray<string>): string => names.join(", ").replace(/, ([^,]*)$/, " or $1")
