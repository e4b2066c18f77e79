/** The runtimes in the table of docs/backends.md, each installed from npm in the version that the table names. */
import * as fs from "node:fs"
import * as path from "node:path"

/** What the table says of a runtime. */
export interface Runtime {
  readonly name: string
  readonly version: string
  /** What it says of each backend. */
  readonly backends: ReadonlyArray<readonly [backend: string, says: string]>
}

const cellsOf = (line: string): ReadonlyArray<string> =>
  line
    .split("|")
    .slice(1, -1)
    .map((cell) => cell.trim())

/** Reads the table under "Where it runs". */
export const runtimesIn = (document: string): ReadonlyArray<Runtime> => {
  const section = document.split(/^## /m).find((part) => part.startsWith("Where it runs\n")) ?? ""
  const [header = "", _rule, ...rows] = section.split("\n").filter((line) => line.startsWith("|"))
  const [, ...backends] = cellsOf(header)
  return rows.map((row) => {
    const [title = "", ...says] = cellsOf(row)
    const [name = "", version = ""] = title.split(" ")
    return { name, version, backends: backends.map((backend, index) => [backend, says[index] ?? ""] as const) }
  })
}

/** The packages to install, under names of their own: there may be several versions of one runtime. */
export const specsOf = (runtimes: ReadonlyArray<Runtime>): ReadonlyArray<string> =>
  runtimes.filter((runtime) => !isThis(runtime)).map((runtime) => `${aliasOf(runtime)}@npm:${packageOf(runtime)}`)

/** How a program is run: the command, and what comes before the program's path. */
export const commandOf = (runtime: Runtime, folder: string): readonly [command: string, ...args: Array<string>] => {
  if (isThis(runtime)) return [process.execPath]
  const installed = path.join(folder, "node_modules", aliasOf(runtime))
  const { bin } = JSON.parse(fs.readFileSync(path.join(installed, "package.json"), "utf8"))
  const name = runtime.name.toLowerCase()
  const command = path.join(installed, typeof bin === "string" ? bin : bin[name])
  return runtime.name === "Deno" ? [process.execPath, command, "run", "--allow-all"] : [command]
}

const isThis = ({ name, version }: Runtime): boolean => name === "Node" && `v${version}` === process.version
const aliasOf = ({ name, version }: Runtime): string => `${name.toLowerCase()}-${version}`
const packageOf = ({ name, version }: Runtime): string => `${name.toLowerCase()}@${version}`
