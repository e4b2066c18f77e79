/** docs/configuration.md has a row for each environment variable that the sources read, and for no others. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "vitest"
import * as Variables from "../../src/config/variables.ts"

const project = path.resolve(import.meta.dirname, "../..")
const sources = path.join(project, "src")

/** The names of variables in the code of the files that read the configuration, without comments. */
const read = fs
  .readdirSync(sources, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.startsWith("testing"))
  .map((file) => fs.readFileSync(path.join(sources, file), "utf8").replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, ""))
  .filter((code) => /\bConfig\b/.test(code))
  .flatMap((code) =>
    [...code.matchAll(/"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|PERSISTENCE|COMPRESSOR)"/g)].map(([, name]) => name)
  )
  // an error code of the module system
  .filter((name) => name !== "ERR_MODULE_NOT_FOUND")

const page = fs.readFileSync(path.join(project, "docs/configuration.md"), "utf8")
const documented = [...page.matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map(([, name]) => name)

const sorted = (names: ReadonlyArray<string | undefined>) => [...new Set(names)].sort()

describe("docs/configuration.md", () => {
  it("has a row for each variable that the sources read", () => {
    assert.include(read, "SQLITE_FILENAME")
    assert.deepStrictEqual(sorted(documented), sorted(read))
  })

  it("has a row for each variable that is known to be one", () => {
    assert.deepStrictEqual(sorted(documented), sorted([...Variables.all]))
  })

  it("has no variable twice", () => {
    assert.strictEqual(documented.length, new Set(documented).size)
  })
})
