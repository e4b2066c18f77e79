/**
 * Checks the package as its users get it: packs it, installs the tarball into an empty project, imports every entry
 * point, type-checks a consumer against the published declarations, which have nothing internal in them, runs an example
 * against the compiled code, a domain model that is bundled for browsers, and a program on each runtime and backend of the
 * table in docs/backends.md.
 *
 * Needs a registry to install the peer dependencies from. `npm pack` builds the package first.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { bundle, call, importingOneByOne } from "../test/browser/bundle.ts"
import { spawnFake } from "../test/support/kurrentFake.ts"
import { startServer } from "../test/support/postgresServer.ts"
import { commandOf, runtimesIn, specsOf } from "./runtimes.ts"

const root = path.resolve(import.meta.dirname, "..")
const readJson = (file: string) => JSON.parse(fs.readFileSync(file, "utf8"))
const manifest = readJson(path.join(root, "package.json"))
const name: string = manifest.name
const example = "training-school"

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), `${name}-`))
process.on("exit", () => fs.rmSync(temporary, { recursive: true, force: true }))
const consumer = path.join(temporary, "consumer")
const installed = path.join(consumer, "node_modules", name)

// npm tells the scripts it runs about the project they belong to; the npm started here is to know only the consumer.
const env = Object.fromEntries(
  Object.entries(process.env).filter(
    ([key]) =>
      !/^npm_(package|lifecycle|command|execpath|node_execpath)/i.test(key) &&
      !/^npm_config_(local_prefix|strict_allow_scripts)$/i.test(key)
  )
)

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, {
    cwd,
    env,
    encoding: "utf8",
    timeout: 600_000,
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "pipe"]
  })

const bin = (packageName: string, command: string): string => {
  const folder = path.join(root, "node_modules", packageName)
  return path.join(folder, readJson(path.join(folder, "package.json")).bin[command])
}

const spec = (packageName: string): string =>
  `${packageName}@${readJson(path.join(root, "node_modules", packageName, "package.json")).version}`

const ensure = (condition: boolean, message: string): void => {
  if (!condition) throw new Error(message)
}

const filesBelow = (folder: string): ReadonlyArray<string> =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true, encoding: "utf8" })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))

let passed = 0
let failed = 0

/** Runs one check and reports it. A check that the following ones build on ends the run when it fails. */
const check = (title: string, options: { readonly required: boolean }, body: () => string | undefined): void => {
  try {
    const detail = body()
    passed++
    console.log(`ok    ${title}${detail === undefined ? "" : `: ${detail}`}`)
  } catch (error) {
    failed++
    const { message, stderr, stdout } = error as Error & { readonly stderr?: string; readonly stdout?: string }
    console.log(`FAIL  ${title}\n${[message, stdout, stderr].filter(Boolean).join("\n").replace(/^/gm, "      ")}`)
    if (options.required) finish()
  }
}

const finish = (): never => {
  console.log(`check-package: ${passed} passed, ${failed} failed`)
  process.exit(failed === 0 && passed > 0 ? 0 : 1)
}

const required = { required: true }
const optional = { required: false }

const entryPoints = Object.keys(manifest.exports).filter((key) => key !== "./package.json" && !key.includes("*"))
const specifier = (entryPoint: string): string => name + entryPoint.slice(1)
const needsVitest = (entryPoint: string): boolean => entryPoint.startsWith("./testing/")
/** The drivers that are installed only by those who use them, by the entry points that need one. */
const drivers: Readonly<Record<string, string>> = {
  "./kurrent": "@kurrent/kurrentdb-client",
  "./postgres": "@effect/sql-pg"
}
const needsNothing = (entryPoint: string): boolean => !needsVitest(entryPoint) && drivers[entryPoint] === undefined

const importAtRuntime = (entryPoint: string): string => {
  const script = `const module = await import(${JSON.stringify(specifier(entryPoint))})
console.log(Object.keys(module).length)`
  const count = Number(run(consumer, process.execPath, "--input-type=module", "--eval", script))
  ensure(count > 0, `${specifier(entryPoint)} exports nothing`)
  return `${count} exports`
}

const typeCheck = (files: ReadonlyArray<string>, resolution: Record<string, string>): undefined => {
  const tsconfig = {
    compilerOptions: {
      ...resolution,
      target: "ES2024",
      lib: ["ES2024", "DOM", "DOM.Iterable", "ESNext.Disposable"],
      types: ["node"],
      noEmit: true,
      // what users export has to have types that can be written down in their own declarations
      declaration: true,
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      noImplicitOverride: true,
      verbatimModuleSyntax: true,
      allowImportingTsExtensions: true,
      // The point of this check: the published declarations themselves have to be free of errors.
      skipLibCheck: false
    },
    files
  }
  fs.writeFileSync(path.join(consumer, "tsconfig.json"), JSON.stringify(tsconfig, undefined, 2))
  try {
    run(consumer, process.execPath, bin("typescript", "tsc"), "--project", "tsconfig.json", "--pretty", "false")
  } catch (error) {
    // not ours to mend: with the newest types of Node the client's declarations have errors of their own
    const client = "node_modules/@kurrent/kurrentdb-client/"
    const output = error instanceof Error && "stdout" in error ? String(error.stdout) : ""
    const errors = output.split("\n").filter((line) => line !== "" && !line.startsWith(" "))
    if (errors.length === 0 || errors.some((line) => !line.startsWith(client))) throw error
  }
}

const moduleSystems: ReadonlyArray<Record<string, string>> = [
  { module: "NodeNext", moduleResolution: "NodeNext" },
  { module: "ESNext", moduleResolution: "Bundler" }
]

const writeConsumer = (file: string, entries: ReadonlyArray<string>): void => {
  const lines = entries.flatMap((entryPoint, index) => [
    `import * as module${index} from ${JSON.stringify(specifier(entryPoint))}`,
    `export const names${index}: ReadonlyArray<string> = Object.keys(module${index})`
  ])
  fs.writeFileSync(path.join(consumer, file), `${lines.join("\n")}\n`)
}

let tarball = ""
check("npm pack builds and packs the package", required, () => {
  run(root, "npm", "pack", "--pack-destination", temporary)
  tarball = fs.readdirSync(temporary).find((file) => file.endsWith(".tgz")) ?? ""
  ensure(tarball !== "", "npm pack wrote no tarball")
  return tarball
})

check("the tarball installs into an empty project, without vitest and drivers", required, () => {
  fs.mkdirSync(consumer)
  fs.writeFileSync(path.join(consumer, "package.json"), JSON.stringify({ private: true, type: "module" }))
  run(
    consumer,
    "npm",
    "install",
    "--strict-peer-deps",
    path.join(temporary, tarball),
    spec("effect"),
    spec("@types/node")
  )
  for (const absent of ["vitest", "@effect/vitest", ...Object.values(drivers)]) {
    ensure(!fs.existsSync(path.join(consumer, "node_modules", absent)), `${absent} was installed too`)
  }
  const dependencies = Object.keys(readJson(path.join(installed, "package.json")).dependencies ?? {})
  ensure(dependencies.join(", ") === "@noble/hashes", `the package depends on ${dependencies.join(", ")}`)
  return spec("effect")
})

check("the tarball has the files it should have, and no others", optional, () => {
  const found = fs.readdirSync(installed).sort().join(" ")
  ensure(found === "CHANGELOG.md LICENSE README.md STABILITY.md dist docs examples package.json src", `found ${found}`)
  for (const entryPoint of entryPoints) {
    for (const target of [manifest.exports[entryPoint].types, manifest.exports[entryPoint].default]) {
      ensure(fs.existsSync(path.join(installed, target)), `${entryPoint}: ${target} is missing`)
    }
  }
  const programs = filesBelow(path.join(installed, "examples")).filter((file) => !file.endsWith(".ts"))
  ensure(programs.length === 0, `among the examples are ${programs.join(", ")}`)
  const sources = filesBelow(path.join(installed, "src"))
  const modules = filesBelow(path.join(installed, "dist")).filter((file) => file.endsWith(".js"))
  ensure(sources.length === modules.length, `${modules.length} modules for ${sources.length} sources`)
  for (const module of modules) {
    const declarations = module.replace(/\.js$/, ".d.ts")
    ensure(fs.existsSync(declarations), `${declarations} is missing`)
    for (const map of [`${module}.map`, `${declarations}.map`]) {
      for (const source of readJson(map).sources) {
        const file = path.resolve(path.dirname(map), source)
        ensure(sources.includes(file), `${map} points to ${source}, which is missing`)
      }
    }
  }
  return `${modules.length} modules with declarations and source maps`
})

for (const entryPoint of entryPoints.filter(needsNothing)) {
  check(`import "${specifier(entryPoint)}", with nothing else`, optional, () => importAtRuntime(entryPoint))
}

check("a configuration that names a backend without its driver says what to install", optional, () => {
  const script = `
    import { Effect, Layer } from "effect"
    import { ConfigLayer } from "${name}/config"
    const build = (persistence) => Effect.scoped(Layer.build(ConfigLayer({ persistence })))
    for (const persistence of ["kurrent", "postgres"]) {
      console.log((await Effect.runPromise(Effect.flip(build(persistence)))).message)
    }`
  const said = run(consumer, process.execPath, "--input-type=module", "--eval", script).trim().split("\n")
  for (const [i, driver] of Object.values(drivers).entries()) {
    ensure(said[i]?.endsWith(`npm install ${driver}`) === true, `it says: ${said[i]}`)
  }
  return undefined
})

writeConsumer("consumer.ts", entryPoints.filter(needsNothing))
for (const system of moduleSystems) {
  check(
    `a consumer type-checks with skipLibCheck: false, ${system.moduleResolution}, with nothing else`,
    optional,
    () => typeCheck(["consumer.ts"], system)
  )
}

const model = fs.readFileSync(path.join(root, "test", "browser", "model.ts"), "utf8")
for (const [how, contents] of Object.entries({ "": model, ", imported one by one": importingOneByOne(model) })) {
  check(`a domain model does the same when esbuild has bundled it for a browser${how}`, optional, () => {
    fs.writeFileSync(path.join(consumer, "model.ts"), contents)
    const script = `console.log(JSON.stringify((await import("./model.ts")).results()))`
    const here = run(consumer, process.execPath, "--input-type=module", "--eval", script).trim()
    const bundled = bundle(contents, consumer, { minify: true })
    ensure(JSON.stringify(call(bundled, "results")) === here, "it does something else")
    return `${Math.ceil(bundled.length / 1024)} KiB, with what it takes of effect`
  })
}

const examples = path.join(root, "examples")
const exampleMain = `examples/${example}/main.ts`
const examplePackages = new Set(
  filesBelow(examples)
    .filter((file) => file.endsWith(".ts"))
    .flatMap((file) =>
      Array.from(fs.readFileSync(file, "utf8").matchAll(/\bfrom "([^".][^"]*)"/g), (match) => match[1]!)
    )
    .map((module) => module.split("/", module.startsWith("@") ? 2 : 1).join("/"))
)
const exampleDependencies = Object.keys(manifest.devDependencies).filter((name) => examplePackages.has(name))

check("vitest, the drivers and what the examples import install next to it", required, () => {
  const specs = Array.from(
    new Set(["vitest", "@effect/vitest", ...Object.values(drivers), ...exampleDependencies]),
    spec
  )
  run(consumer, "npm", "install", "--strict-peer-deps", ...specs)
  return specs.join(" ")
})

for (const entryPoint of entryPoints.filter((entryPoint) => !needsNothing(entryPoint))) {
  check(`import "${specifier(entryPoint)}"`, optional, () => importAtRuntime(entryPoint))
}

for (const entryPoint of entryPoints.filter(needsVitest)) {
  check(`import "${specifier(entryPoint)}" in a test`, optional, () => {
    fs.writeFileSync(
      path.join(consumer, "consumer.test.ts"),
      `import { expect, it } from "vitest"
import * as module from ${JSON.stringify(specifier(entryPoint))}

it("exports something", () => expect(Object.keys(module)).not.toEqual([]))
`
    )
    run(consumer, process.execPath, "node_modules/vitest/vitest.mjs", "run")
    return undefined
  })
}

writeConsumer("consumer.ts", entryPoints)
for (const system of moduleSystems) {
  check(`a consumer type-checks with skipLibCheck: false, ${system.moduleResolution}`, optional, () =>
    typeCheck(["consumer.ts"], system)
  )
}

fs.cpSync(examples, path.join(consumer, "examples"), {
  recursive: true,
  filter: (file) => !/\.(db|sqlite)(-\w+)?$/.test(file)
})
check("the examples type-check against the published declarations, and have declarations of their own", optional, () =>
  typeCheck(
    fs.readdirSync(examples).map((folder) => `examples/${folder}/main.ts`),
    moduleSystems[0]!
  )
)
check("nothing that is @internal is in the published declarations, and none of them needs it", optional, () => {
  const declarations = filesBelow(path.join(installed, "dist")).filter((file) => file.endsWith(".d.ts"))
  const marked = filesBelow(path.join(installed, "src")).filter((file) =>
    fs.readFileSync(file, "utf8").includes("@internal")
  )
  ensure(marked.length > 3, `only ${marked.length} sources have @internal: is it called otherwise now?`)
  const left = declarations.filter((file) => fs.readFileSync(file, "utf8").includes("@internal"))
  ensure(left.length === 0, `@internal is in ${left.map((file) => path.relative(installed, file)).join(", ")}`)
  typeCheck(
    declarations.map((file) => path.relative(consumer, file)),
    moduleSystems[0]!
  )
  return `${declarations.length} declarations`
})
check("nothing but the entry points can be imported", optional, () => {
  const compiled = path.join(installed, "dist")
  const entrances = new Set(entryPoints.map((entryPoint) => specifier(entryPoint)))
  const others = filesBelow(compiled)
    // those at the top are the namespaces of the index, each an entry point by its own name
    .filter((file) => file.endsWith(".js") && path.dirname(file) !== compiled)
    .map((file) => `${name}/${path.relative(compiled, file).slice(0, -".js".length)}`)
    .filter((module) => !entrances.has(module))
  ensure(others.length > 100, `only ${others.length} files are not entry points: are they compiled elsewhere?`)
  const script = `
    const others = ${JSON.stringify(others)}
    const open = others.filter((other) => {
      try {
        return import.meta.resolve(other) !== undefined
      } catch (error) {
        return error.code !== "ERR_PACKAGE_PATH_NOT_EXPORTED"
      }
    })
    if (open.length > 0) throw new Error("can be imported: " + open.join(", "))`
  run(consumer, process.execPath, "--input-type=module", "--eval", script)
  return undefined
})
check(`${exampleMain} runs with the compiled package`, optional, () => {
  run(consumer, process.execPath, exampleMain)
  return undefined
})

const runtimes = runtimesIn(fs.readFileSync(path.join(root, "docs", "backends.md"), "utf8"))
const runtimesFolder = path.join(temporary, "runtimes")
check("the runtimes of docs/backends.md install", optional, () => {
  ensure(runtimes.length > 0, "docs/backends.md names no runtime")
  fs.mkdirSync(runtimesFolder)
  fs.writeFileSync(path.join(runtimesFolder, "package.json"), JSON.stringify({ private: true }))
  run(runtimesFolder, "npm", "install", "--no-package-lock", ...specsOf(runtimes))
  return runtimes.map((runtime) => `${runtime.name} ${runtime.version}`).join(", ")
})

const runtimeProgram = "program.ts"
fs.copyFileSync(path.join(root, "test", "runtimes", "program.ts"), path.join(consumer, runtimeProgram))
const postgres = process.env.POSTGRES_URL === undefined ? await startServer() : undefined
const kurrent = process.env.KURRENTDB_URI === undefined ? await spawnFake() : undefined
const places = (runtime: string): Readonly<Record<string, string>> => ({
  memory: "",
  SQLite: path.join(temporary, `${runtime}.db`),
  PostgreSQL: postgres?.url ?? String(process.env.POSTGRES_URL),
  KurrentDB: kurrent?.uri ?? String(process.env.KURRENTDB_URI)
})
for (const runtime of runtimes) {
  const title = `${runtime.name} ${runtime.version}`
  for (const [backend, says] of runtime.backends) {
    check(`${title} with ${backend}: ${says}, as docs/backends.md says`, optional, () => {
      const place = places(title)[backend]
      ensure(place !== undefined, `there is no backend ${backend}`)
      const [command, ...args] = commandOf(runtime, runtimesFolder)
      ensure(says === "yes", `it says "${says}"; it runs what it says "yes" of`)
      const found = run(consumer, command, ...args, runtimeProgram, backend, String(place)).trim()
      ensure(found === "Rex 3 3 3", `it printed ${found}`)
      return undefined
    })
  }
}
await kurrent?.stop()
await postgres?.stop()

finish()
