/** Every link from the documents to a file of the project leads to an existing file, and to a heading in it. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "vitest"

const project = path.resolve(import.meta.dirname, "../..")

const markdownBelow = (folder: string): ReadonlyArray<string> =>
  fs
    .readdirSync(path.join(project, folder), { recursive: true, encoding: "utf8" })
    .map((name) => path.posix.join(folder, name.replaceAll(path.sep, "/")))
    .filter((name) => name.endsWith(".md") && !name.includes("node_modules"))

const documents = [
  ...fs.readdirSync(project).filter((name) => name.endsWith(".md")),
  ...["docs", "bench", "test"].flatMap(markdownBelow)
].sort()

const withoutCode = (text: string) => text.replace(/^(`{3,}|~{3,})[\s\S]*?^\1`*\s*$/gm, "")

/** The anchor that GitHub makes of a heading. */
const anchorsOf = (file: string): ReadonlySet<string> => {
  const anchors = new Set<string>()
  const headings = withoutCode(fs.readFileSync(file, "utf8")).matchAll(/^#{1,6} (.+)$/gm)
  for (const [, heading] of headings) {
    const text = (heading ?? "").replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    const slug = text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(" ", "-")
    let anchor = slug
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`
    anchors.add(anchor)
  }
  return anchors
}

const brokenLinks = (document: string): ReadonlyArray<string> => {
  const text = withoutCode(fs.readFileSync(path.join(project, document), "utf8")).replace(/`[^`\n]*`/g, "")
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
    if (/^[a-z]+:/.test(link)) return []
    const [target = "", anchor] = link.split("#")
    const file = target === "" ? path.join(project, document) : path.resolve(project, path.dirname(document), target)
    if (!fs.existsSync(file)) return [`${link}: no such file`]
    return anchor === undefined || anchorsOf(file).has(anchor) ? [] : [`${link}: no such heading`]
  })
}

describe("links", () => {
  for (const document of documents) {
    it(document, () => {
      assert.deepStrictEqual(brokenLinks(document), [])
    })
  }
})

describe("docs/README.md", () => {
  it("leads to every page", () => {
    const index = fs.readFileSync(path.join(project, "docs/README.md"), "utf8")
    const pages = documents.filter((name) => name.startsWith("docs/") && name !== "docs/README.md")
    assert.deepStrictEqual(
      pages.filter((page) => !index.includes(`](${path.posix.relative("docs", page)})`)),
      []
    )
  })
})
