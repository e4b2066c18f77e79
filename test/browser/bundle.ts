/** Bundles modules for browsers, and runs bundles where nothing of Node is. */
import * as vm from "node:vm"
import type { BuildOptions } from "esbuild"
import { buildSync } from "esbuild"

/** Bundles the text of a module, which is as if it were in that folder. */
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

/** What scripts find in every browser, beside JavaScript itself, and a library may use. */
const globals = () => ({ TextDecoder, TextEncoder, clearTimeout, console, crypto, queueMicrotask, setTimeout })

/** Runs a bundle and calls a function that its module exports: what that returned. */
export const call = (script: string, name: string): unknown => {
  const context = vm.createContext(globals())
  vm.runInContext(script, context)
  return JSON.parse(vm.runInContext(`JSON.stringify(bundled.${name}())`, context))
}

/** The text of a module, with the modules of the library imported one by one. */
export const importingOneByOne = (contents: string): string =>
  contents.replace(/^import \{ (.*) \} from "effect-eventsourcing"$/gm, (_, names: string) =>
    names
      .split(", ")
      .map((name) => `import * as ${name} from "effect-eventsourcing/${name}"`)
      .join("\n")
  )
