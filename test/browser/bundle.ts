/** Bundles modules for browsers, and runs bundles in a context without any of Node's globals. */
import * as vm from "node:vm"
import type { BuildOptions } from "esbuild"
import { buildSync } from "esbuild"

/** Bundles the text of a module as if it were in this folder. */
export const build = (contents: string, folder: string, options: BuildOptions) =>
  buildSync({
    stdin: { contents, loader: "ts", resolveDir: folder },
    bundle: true,
    platform: "browser",
    format: "iife",
    globalName: "bundled",
    logLevel: "silent",
    ...options,
    write: false,
    metafile: true
  } as const satisfies BuildOptions)

/** The bundle as the text of a script. */
export const bundle = (contents: string, folder: string, options: BuildOptions = {}): string =>
  build(contents, folder, options)
    .outputFiles.map(({ text }) => text)
    .join("\n")

/** The globals that every browser has besides JavaScript's own, and that a library may use. */
const globals = () => ({ TextDecoder, TextEncoder, clearTimeout, console, crypto, queueMicrotask, setTimeout })

/** Runs a bundle, calls a function that its module exports, and returns the result. */
export const call = (script: string, name: string): unknown => {
  const context = vm.createContext(globals())
  vm.runInContext(script, context)
  return JSON.parse(vm.runInContext(`JSON.stringify(bundled.${name}())`, context))
}

/** The text of a module that imports the modules of the library one by one. */
export const importingOneByOne = (contents: string): string =>
  contents.replace(/^import \{ (.*) \} from "effect-eventsourcing"$/gm, (_, names: string) =>
    names
      .split(", ")
      .map((name) => `import * as ${name} from "effect-eventsourcing/${name}"`)
      .join("\n")
  )
