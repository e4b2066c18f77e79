import * as fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { page, titles, withTitles } from "./support/guaranteeTitles.ts"

describe("docs/guarantees.md", () => {
  const text = fs.readFileSync(page, "utf8")

  it("lists the tests of each guarantee; `npm run docs:guarantees` writes them", () => {
    assert.strictEqual(text, withTitles(text))
  })

  it("each guarantee has tests, and each tag names a guarantee", () => {
    const promised = [...text.matchAll(/^\| \*\*([GPT]\d+) /gm)].map(([, tag]) => tag)
    assert.deepStrictEqual([...titles().keys()], promised)
    for (const [tag, all] of titles()) assert.isAtLeast(all.length, 3, tag)
  })

  it("a tag is spelled in only one way: at the beginning of a title, before a space", () => {
    const folder = `${import.meta.dirname}/../..`
    const others = ["test", "src/testing"].flatMap((part) =>
      fs
        .readdirSync(`${folder}/${part}`, { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(".ts"))
        .flatMap((file) =>
          [
            ...fs
              .readFileSync(`${folder}/${part}/${file}`, "utf8")
              .matchAll(/\b(?:it|test|describe)\b[^"'`\n]*(["'`])(?:[GPT]\d+[:,]|(?:(?!\1).)*\([GPT]\d+\)\1).*/g)
          ].map(([line]) => `${file}: ${line}`)
        )
    )
    assert.deepStrictEqual(others, [])
  })
})
