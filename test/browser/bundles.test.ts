/** Domain code runs without Node: bundled by esbuild for browsers, in a context that has what browsers have. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Library from "effect-eventsourcing"
import { build, bundle, call, importingOneByOne } from "./bundle.ts"
import * as Model from "./model.ts"

const folder = import.meta.dirname
const read = (name: string) => fs.readFileSync(path.join(folder, name), "utf8")
// the sources
const conditions = ["effect-eventsourcing-source"]
/** The value after a round trip through JSON. */
const expected = JSON.parse(JSON.stringify(Model.results())) as unknown

describe("a domain model in a browser", () => {
  const script = bundle(read("model.ts"), folder, { conditions })

  it("behaves as in Node", () => {
    assert.deepStrictEqual(call(script, "results"), expected)
  })

  it("makes random ids", () => {
    const ids = call(script, "randomIds") as ReadonlyArray<string>
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.strictEqual(new Set(ids).size, 2000)
  })

  it("does the same with modules that are imported one by one", () => {
    const model = importingOneByOne(read("model.ts"))
    assert.include(model, 'import * as Aggregate from "effect-eventsourcing/Aggregate"')
    assert.deepStrictEqual(call(bundle(model, folder, { conditions }), "results"), expected)
  })
})

describe("the modules of a domain model", () => {
  // their imports of other packages are left out of the bundle
  const { metafile, outputFiles } = build(
    'export { Aggregate, Decision, DomainEvent, Evolution } from "effect-eventsourcing"',
    folder,
    {
      conditions,
      format: "esm",
      external: ["effect", "@noble/hashes"],
      define: Object.fromEntries(["Buffer", "global", "process", "require"].map((name) => [name, `OF_NODE_${name}`]))
    }
  )

  it("use nothing of Node, even in code that no test reaches", () => {
    const [output] = outputFiles
    assert.include(output?.text, "crypto.getRandomValues")
    assert.notMatch(output?.text ?? "", /OF_NODE_|["']node:/)
  })

  it("are the whole bundle", () => {
    const used = Object.values(metafile.outputs).flatMap(({ inputs }) =>
      Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [path.basename(file)] : []))
    )
    assert.includeMembers(used, ["Aggregate.ts", "Decision.ts", "DomainEvent.ts", "Evolution.ts"])
    for (const server of ["Cipher.ts", "EventStore.ts", "Mapper.ts", "Repository.ts"]) assert.notInclude(used, server)
  })
})

describe("all of the library but its backends", () => {
  const script = bundle(read("everything.ts"), folder, { conditions })

  it("can be loaded in a browser, as by bundlers that omit nothing", () => {
    // a bundler lists them in its own order
    assert.sameMembers(call(script, "names") as Array<string>, Object.keys(Library))
  })

  it("reports what is missing there", () => {
    assert.strictEqual(call(script, "compress"), "Error: this needs node:zlib, which this runtime does not have")
  })
})
