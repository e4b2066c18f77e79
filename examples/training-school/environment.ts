/** The environment of an example, in which options of the command line stand for variables. */
import { parseArgs } from "node:util"
import { ConfigProvider } from "effect"

/**
 * `--file PATH`, `--postgres URL` and `--kurrent URL` say where events are kept, and otherwise the environment does. Views are
 * not on KurrentDB, but in the database or file that is named besides.
 */
export const environment = (): ConfigProvider.ConfigProvider => {
  const { file, kurrent, postgres } = parseArgs({
    options: { file: { type: "string" }, postgres: { type: "string" }, kurrent: { type: "string" } }
  }).values
  const { env } = process
  const named =
    kurrent !== undefined ? "kurrent" : postgres !== undefined ? "postgres" : file === undefined ? undefined : "sqlite"
  const log = named ?? env.PERSISTENCE ?? (env.KURRENTDB_URI === undefined ? undefined : "kurrent")
  const views = log !== "kurrent" ? undefined : postgres !== undefined ? "postgres" : "sqlite"
  return ConfigProvider.fromEnvRecord({
    ...env,
    PERSISTENCE: log,
    VIEWS_PERSISTENCE: named === undefined ? (env.VIEWS_PERSISTENCE ?? views) : views,
    SQLITE_FILENAME: file ?? env.SQLITE_FILENAME,
    POSTGRES_URL: postgres ?? env.POSTGRES_URL,
    KURRENTDB_URI: kurrent ?? env.KURRENTDB_URI
  })
}
