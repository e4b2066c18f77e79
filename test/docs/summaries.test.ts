/** Every export has a comment that begins with a sentence: for hover text and the API reference. */
import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "vitest"

const project = path.resolve(import.meta.dirname, "../..")
const manifest = JSON.parse(fs.readFileSync(path.join(project, "package.json"), "utf8"))
const condition = "effect-eventsourcing-source"

const entryPoints: ReadonlyArray<string> = Object.entries<Record<string, string> | string | null>(manifest.exports)
  .filter(([name]) => !name.includes("*") && name !== "./package.json")
  .map(([, target]) => path.join(project, (target as Record<string, string>)[condition] ?? ""))

const linesOf = (file: string) => fs.readFileSync(file, "utf8").split("\n")
const declaration =
  /^export (?:declare )?(?:abstract )?(?:const|let|function\*?|class|interface|type|namespace|enum) (\w+)/

/** The comment that ends on the line before. */
const commentBefore = (lines: ReadonlyArray<string>, line: number): string | undefined => {
  if (!/\*\/\s*$/.test(lines[line - 1] ?? "")) return undefined
  let begin = line - 1
  while (begin >= 0 && !/^\s*\/\*\*/.test(lines[begin] ?? "")) begin--
  return lines
    .slice(begin, line)
    .join("\n")
    .replace(/^\/\*\*|\*\/\s*$|^ \* ?/gm, "")
    .trim()
}

/** A sentence, perhaps after code, and perhaps on several lines; not a tag. */
const isSentence = (comment: string | undefined) =>
  /^(?:[A-Z`{]|an? `)[\s\S]*?[.:!?)](?:\s|$)/.test(comment?.split("\n\n")[0] ?? "")

/** The exports of a file, or the given names, that lack a summary. */
const lacking = (file: string, names?: ReadonlySet<string>): ReadonlyArray<string> => {
  const lines = linesOf(file)
  const seen = new Set<string>()
  return lines.flatMap((line, index) => {
    const name = declaration.exec(line)?.[1]
    // the first signature of an overloaded function has the comment
    if (name === undefined || seen.has(name) || (names !== undefined && !names.has(name))) return []
    seen.add(name)
    const comment = commentBefore(lines, index)
    return isSentence(comment) || comment?.includes("@internal")
      ? []
      : [`${path.relative(project, file)}:${index + 1} ${name}`]
  })
}

const reachable = (entryPoint: string): ReadonlyArray<string> => {
  const text = fs.readFileSync(entryPoint, "utf8")
  const resolve = (specifier: string | undefined) => path.resolve(path.dirname(entryPoint), specifier ?? "")
  const namespaces = [...text.matchAll(/^export \* (?:as \w+ )?from "([^"]+)"/gm)].map(([, from]) => resolve(from))
  const named = [...text.matchAll(/^export (?:type )?\{([^}]*)\} from "([^"]+)"/gm)]
  return [
    ...(isSentence(
      /^\/\*\*([\s\S]*?)\*\//
        .exec(text)?.[1]
        ?.replace(/^ \* ?/gm, "")
        .trim()
    )
      ? []
      : [entryPoint]),
    ...namespaces.flatMap((file) => [
      ...(linesOf(file)[0]?.startsWith("/**") ? [] : [path.relative(project, file)]),
      ...lacking(file)
    ]),
    ...named.flatMap(([, list, from]) => {
      const names = (list ?? "").split(",").map((name) => /^(?:type )?(\w+)/.exec(name.trim())?.[1] ?? "")
      return lacking(resolve(from), new Set(names))
    }),
    ...lacking(entryPoint)
  ]
}

describe("summaries", () => {
  for (const entryPoint of entryPoints) {
    it(path.relative(project, entryPoint), () => {
      assert.deepStrictEqual(reachable(entryPoint), [])
    })
  }
})

describe("README.md", () => {
  it("lists the modules in the groups of src/index.ts", () => {
    const groups = fs
      .readFileSync(path.join(project, "src/index.ts"), "utf8")
      .split(/^\/\/ For /m)
      .slice(1)
      .map((group) => [...group.matchAll(/^export \* as (\w+)/gm)].map(([, name]) => `\`${name}\``).join(", "))
    const readme = fs.readFileSync(path.join(project, "README.md"), "utf8")
    assert.isAbove(groups.length, 1)
    assert.deepStrictEqual(
      groups.filter((group) => !readme.includes(`| ${group} |`)),
      []
    )
  })
})
