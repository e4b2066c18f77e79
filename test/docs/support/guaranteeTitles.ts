/** The titles of the tests that prove each guarantee, as they are written in the sources. */
import * as fs from "node:fs"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "../../..")

/** The page that lists the titles. */
export const page = path.join(root, "docs/guarantees.md")

const START = "<!-- titles: npm run docs:guarantees -->"
const END = "<!-- end of titles -->"

/**
 * A title that begins with the numbers of guarantees, such as `G2 G7 …`, `P1 …` or `T1 …`, as the first argument of a
 * call.
 */
const TITLE = /\(\s*(["'`])((?:[GPT]\d+ )+)((?:(?!\1)[^\\\n]|\\.)+)\1/g

const sources = (): ReadonlyArray<string> =>
  ["test", "src/testing"]
    .flatMap((folder) =>
      fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" }).map((file) => `${folder}/${file}`)
    )
    .filter((file) => file.endsWith(".ts"))
    .sort()

/** The titles of each guarantee, without duplicates. What a template fills in is written as `…`. */
export const titles = (): ReadonlyMap<string, ReadonlyArray<string>> => {
  const found = new Map<string, Set<string>>()
  for (const file of sources()) {
    for (const [, , tags = "", title = ""] of fs.readFileSync(path.join(root, file), "utf8").matchAll(TITLE)) {
      const shown = title
        .replaceAll(/\$\{[^}]*\}/g, "…")
        .replaceAll(/\\(.)/g, "$1")
        .trim()
      for (const tag of tags.trim().split(" ")) found.set(tag, (found.get(tag) ?? new Set()).add(shown))
    }
  }
  return new Map(
    [...found]
      .toSorted(([a], [b]) => a.charCodeAt(0) - b.charCodeAt(0) || Number(a.slice(1)) - Number(b.slice(1)))
      .map(([tag, all]) => [tag, [...all].toSorted()])
  )
}

/** The page, with its list of titles replaced by those of the sources. */
export const withTitles = (text: string): string => {
  const list = [...titles()].map(
    ([tag, all]) => `### ${tag}\n\n${all.map((title) => `- ${escape(title)}`).join("\n")}\n`
  )
  const [before, rest] = text.split(START)
  const after = rest?.split(END)[1]
  if (before === undefined || after === undefined) throw new Error(`${page} lacks "${START}" or "${END}"`)
  return `${before}${START}\n\n${list.join("\n")}\n${END}${after}`
}

/** Escapes a title, so that none of it is Markdown. */
const escape = (title: string): string => title.replaceAll(/([*_<>`[\]|])/g, "\\$1")

if (process.argv[1] === import.meta.filename) fs.writeFileSync(page, withTitles(fs.readFileSync(page, "utf8")))
