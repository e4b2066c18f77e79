/**
 * Every TypeScript code block in README.md, in docs/*.md and in the JSDoc comments of the sources compiles, runs, and
 * prints what it says it prints. See support/codeBlocks.ts for what a block can say.
 */
import * as fs from "node:fs"
import { availableParallelism } from "node:os"
import * as path from "node:path"
import { assert, beforeAll, describe, it } from "vitest"
import * as CodeBlocks from "./support/codeBlocks.ts"

const project = path.resolve(import.meta.dirname, "../..")

const filesBelow = (folder: string, suffix: string): ReadonlyArray<string> =>
  fs.existsSync(path.join(project, folder))
    ? fs
        .readdirSync(path.join(project, folder), { recursive: true, encoding: "utf8" })
        .map((name) => `${folder}/${name.replaceAll(path.sep, "/")}`)
        .filter((name) => name.endsWith(suffix))
        .sort()
    : []

const read = (file: string) => fs.readFileSync(path.join(project, file), "utf8")

const documents = ["README.md", ...filesBelow("docs", ".md")].filter((file) => fs.existsSync(path.join(project, file)))

const blocks = [
  ...documents.flatMap((file) => CodeBlocks.blocksOfMarkdown(file, read(file))),
  ...filesBelow("src", ".ts").flatMap((file) => CodeBlocks.blocksOfJsDoc(file, read(file)))
]

const timeout = 120_000

const written = CodeBlocks.writeBlocks({
  project,
  folder: ".docs-check",
  blocks,
  concurrency: availableParallelism(),
  timeout
})

describe("code blocks", () => {
  let typeErrors: CodeBlocks.TypeErrors

  beforeAll(async () => {
    typeErrors = await written.typeCheck()
  }, 10 * timeout)

  it("README.md has code blocks", () => {
    assert.isAbove(blocks.filter((block) => block.file === "README.md").length, 0)
  })

  it("the compiler complains about nothing but code blocks", () => {
    assert.strictEqual(typeErrors.others.join("\n"), "")
  })

  // A block waits for others to finish, so its own timeout is the one that counts.
  describe.concurrent("each", { timeout: timeout * (blocks.length + 1) }, () => {
    for (const block of blocks) {
      it(`${block.file}:${block.line}`, async ({ expect }) => {
        expect(typeErrors.of(block).join("\n"), "type errors").toBe("")
        if (CodeBlocks.runnerOf(block) === undefined) return
        const { code, stderr, stdout } = await written.run(block)
        expect(code, `exit code, after printing\n${stdout}\n${stderr}`).toBe(0)
        const missing = CodeBlocks.firstMissingLine(CodeBlocks.expectedOutput(block), stdout)
        expect(missing, `a line that should be in the output\n${stdout}`).toBe(undefined)
      })
    }
  })
})
