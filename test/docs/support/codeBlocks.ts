/**
 * Finds the TypeScript code blocks of Markdown documents and of JSDoc comments, writes them as modules, type-checks
 * all of them with one run of the compiler, and runs them one by one.
 *
 * - A block's module is `<document>/<line>.ts`, or `<document>/<name>.ts` when its first line is a comment of the form
 *   `// name.ts`; later blocks of the same document import that one as `"./name.ts"`. So do blocks of a document that
 *   has `<!-- code of other.md -->`, if the other document has a block of that name, and it has none itself.
 * - Every `// prints: some text` comment in a block is a line its output must contain, in the order of the comments.
 * - A block fenced as "ts no-run" is type-checked but not run.
 * - A block that imports a test framework, or what registers tests with it (`effect-eventsourcing/testing/backend`
 *   and `/vitest`), is run with Vitest and must have a test.
 *
 * Code that should not compile belongs under a `// @ts-expect-error` comment.
 */
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { uri } from "../../kurrent/support/server.ts"

export interface CodeBlock {
  /** The document, relative to the project, with forward slashes. */
  readonly file: string
  /** The line of the document that the block's first line of code is on. */
  readonly line: number
  /** The file name from a first line of the form `// name.ts`. */
  readonly name: string | undefined
  /** The documents whose named blocks it can import, too. */
  readonly libraries: ReadonlyArray<string>
  /** The words after the language in the opening fence. */
  readonly words: ReadonlyArray<string>
  readonly code: string
}

const openingFence = /^(\s*)(`{3,}|~{3,})\s*([^\s`]*)(.*)$/
const title = /^\/\/\s*((?:[\w.-]+\/)*[\w-][\w.-]*\.ts)\s*$/
const languages = new Set(["ts", "typescript"])

const library = /^<!-- code of (\S+\.md) -->$/

const blocksOfLines = (file: string, lines: ReadonlyArray<string>, firstLine: number): ReadonlyArray<CodeBlock> => {
  const blocks: Array<CodeBlock> = []
  const libraries = lines.flatMap((line) => {
    const [, name] = library.exec(line) ?? []
    return name === undefined ? [] : [path.posix.join(path.posix.dirname(file), name)]
  })
  for (let index = 0; index < lines.length; index++) {
    const [, indent = "", fence = "", language = "", info = ""] = openingFence.exec(lines[index]!) ?? []
    if (fence === "") continue
    const opened = index
    const closing = new RegExp(`^\\s*${fence[0]}{${fence.length},}\\s*$`)
    const code: Array<string> = []
    for (index++; index < lines.length && !closing.test(lines[index]!); index++) {
      const line = lines[index]!
      code.push(line.startsWith(indent) ? line.slice(indent.length) : line.trimStart())
    }
    if (index === lines.length) throw new Error(`${file}:${firstLine + opened}: this code block is never closed`)
    if (!languages.has(language.toLowerCase())) continue
    blocks.push({
      file,
      line: firstLine + opened + 1,
      name: title.exec(code[0] ?? "")?.[1],
      libraries,
      words: info.split(/[\s,]+/).filter((word) => word !== ""),
      code: code.join("\n")
    })
  }
  return blocks
}

/** The TypeScript blocks of a Markdown document. */
export const blocksOfMarkdown = (file: string, text: string): ReadonlyArray<CodeBlock> =>
  blocksOfLines(file, text.split(/\r?\n/), 1)

/** The TypeScript blocks of the JSDoc comments of a source file. */
export const blocksOfJsDoc = (file: string, text: string): ReadonlyArray<CodeBlock> => {
  const lines = text.split(/\r?\n/)
  const blocks: Array<CodeBlock> = []
  for (let index = 0; index < lines.length; index++) {
    if (!/^\s*\/\*\*/.test(lines[index]!) || lines[index]!.includes("*/")) continue
    const opened = index
    while (index < lines.length && !lines[index]!.includes("*/")) index++
    const comment = lines.slice(opened + 1, index).map((line) => line.replace(/^\s*\* ?/, "").replaceAll("*\\/", "*/"))
    blocks.push(...blocksOfLines(file, comment, opened + 2))
  }
  return blocks
}

/** How a block is run: `undefined` means it is only type-checked. */
export const runnerOf = (block: CodeBlock): "node" | "vitest" | undefined =>
  block.words.includes("no-run")
    ? undefined
    : /\bfrom\s+["'](?:vitest|@effect\/vitest|effect-eventsourcing\/testing\/(?:backend|vitest))["']/.test(block.code)
      ? "vitest"
      : "node"

const printed = /(?:^|\s)\/\/ prints: (.*?)\s*$/gm

/** The lines that a block claims to print. */
export const expectedOutput = (block: CodeBlock): ReadonlyArray<string> =>
  Array.from(block.code.matchAll(printed), (match) => match[1]!)

/** The first of the expected lines that is not in the output after the ones before it. */
export const firstMissingLine = (expected: ReadonlyArray<string>, output: string): string | undefined => {
  const lines = output.split(/\r?\n/).map((line) => line.trim())
  let from = 0
  for (const line of expected) {
    const found = lines.indexOf(line.trim(), from)
    if (found === -1) return line
    from = found + 1
  }
  return undefined
}

export interface Finished {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const condition = "--conditions=effect-eventsourcing-source"

const node = (args: ReadonlyArray<string>, cwd: string, timeout: number): Promise<Finished> => {
  // Blocks must behave as they do in a shell, not as they do below a test runner.
  const { NODE_ENV: _env, NODE_OPTIONS: _options, ...inherited } = process.env
  const env = Object.fromEntries(Object.entries(inherited).filter(([name]) => !/^(VITEST|TEST$)/.test(name)))
  env.KURRENTDB_URI ??= uri
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      args,
      { cwd, env: { ...env, NO_COLOR: "1" }, timeout, killSignal: "SIGKILL", maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const killed = error?.killed === true ? `\nstopped after ${timeout} ms` : ""
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1
        resolve({ code, stdout, stderr: stderr + killed })
      }
    )
  })
}

/** Returns a function that runs the tasks it is given, at most `limit` of them at once. */
const limited = (limit: number): (<A>(task: () => Promise<A>) => Promise<A>) => {
  let free = limit
  const waiting: Array<() => void> = []
  return async (task) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}

export interface TypeErrors {
  /** The compiler's complaints about a block, each with its place in the document. */
  readonly of: (block: CodeBlock) => ReadonlyArray<string>
  /** Everything else that the compiler printed, if it failed. */
  readonly others: ReadonlyArray<string>
}

export interface CodeBlocks {
  readonly typeCheck: () => Promise<TypeErrors>
  readonly run: (block: CodeBlock) => Promise<Finished>
}

/**
 * Writes the blocks into a folder inside the project, so that they can import the package by its name. Every module
 * starts with as many empty lines as the block has lines above it in its document, so line numbers agree.
 */
export const writeBlocks = (options: {
  readonly project: string
  readonly folder: string
  readonly blocks: ReadonlyArray<CodeBlock>
  readonly concurrency: number
  readonly timeout: number
}): CodeBlocks => {
  const { blocks, project, timeout } = options
  const folder = path.join(project, options.folder)
  const modules = new Map<string, CodeBlock>()
  const moduleOf = (block: CodeBlock) => `${block.file}/${block.name ?? `${block.line}.ts`}`

  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  for (const block of blocks) {
    const module = moduleOf(block)
    const earlier = modules.get(module)
    if (earlier !== undefined) {
      throw new Error(`${block.file}:${block.line}: line ${earlier.line} has a block named ${block.name} too`)
    }
    modules.set(module, block)
    fs.mkdirSync(path.dirname(path.join(folder, module)), { recursive: true })
    fs.writeFileSync(path.join(folder, module), `${"\n".repeat(block.line - 1)}${block.code}\n`)
  }

  for (const block of blocks) {
    for (const [, name] of block.code.matchAll(/from "\.\/([\w./-]+\.ts)"/g)) {
      const module = `${block.file}/${name}`
      const other = block.libraries.map((document) => `${document}/${name}`).find((named) => modules.has(named))
      if (modules.has(module) || other === undefined) continue
      const from = path.posix.relative(path.posix.dirname(module), other)
      fs.writeFileSync(path.join(folder, module), `export * from ${JSON.stringify(from)}\n`)
    }
  }

  const toProject = path.relative(folder, project).replaceAll(path.sep, "/")
  // Examples introduce names for the reader's sake, so unused ones are not mistakes here.
  const tsconfig = {
    extends: `${toProject}/tsconfig.json`,
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
    include: ["**/*.ts"],
    exclude: ["vitest.config.ts"]
  }
  fs.writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(tsconfig, undefined, 2))

  const tested = blocks.filter((block) => runnerOf(block) === "vitest").map(moduleOf)
  fs.writeFileSync(
    path.join(folder, "vitest.config.ts"),
    [
      `import { mergeConfig } from "vitest/config"`,
      `import project from ${JSON.stringify(`${toProject}/vitest.config.ts`)}`,
      ``,
      `const config = mergeConfig(project, { root: import.meta.dirname })`,
      `config.test.include = ${JSON.stringify(tested)}`,
      // the run that starts this one has already done the global setup
      `config.test.globalSetup = []`,
      `export default config`,
      ``
    ].join("\n")
  )

  const bin = (packageName: string, name: string) => {
    const root = path.join(project, "node_modules", packageName)
    return path.join(root, JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")).bin[name])
  }

  const typeCheck = async (): Promise<TypeErrors> => {
    const ofModule = new Map<string, Array<string>>()
    const others: Array<string> = []
    if (blocks.length > 0) {
      const args = [bin("typescript", "tsc"), "--project", folder, "--pretty", "false"]
      const { code, stderr, stdout } = await node(args, folder, 10 * timeout)
      let current = others
      for (const line of `${stdout}\n${stderr}`.split(/\r?\n/)) {
        const [, file, row, column, message] = /^(\S.*?)\((\d+),(\d+)\): (.*)$/.exec(line) ?? []
        if (file !== undefined) {
          const module = path.relative(folder, path.resolve(folder, file)).replaceAll(path.sep, "/")
          const block = modules.get(module)
          current = block === undefined ? others : (ofModule.get(module) ?? [])
          if (block !== undefined) ofModule.set(module, current)
          current.push(block === undefined ? line : `${block.file}:${row}:${column}: ${message}`)
        } else if (line.trim() !== "") {
          current.push(line)
        }
      }
      if (code !== 0 && others.length === 0 && ofModule.size === 0) others.push(`tsc ended with code ${code}`)
    }
    return { of: (block) => ofModule.get(moduleOf(block)) ?? [], others }
  }

  let runs = 0
  const atOnce = limited(options.concurrency)
  const run = (block: CodeBlock): Promise<Finished> =>
    atOnce(() => {
      const module = path.join(folder, moduleOf(block))
      if (runnerOf(block) === "vitest") {
        return node([bin("vitest", "vitest"), "run", "--root", folder, module], folder, timeout)
      }
      // Files that a block creates must not be found by another block.
      const cwd = path.join(folder, "cwd", `${runs++}`)
      fs.mkdirSync(cwd, { recursive: true })
      return node([condition, module], cwd, timeout)
    })

  return { typeCheck, run }
}
