import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type { Row } from "../../../src/internal/deadline/dueRow.ts"
import { compare } from "../../../src/internal/deadline/dueRow.ts"
import { change, empty, page } from "../../../src/internal/deadline/dueTree.ts"

const Change = Schema.Struct({
  id: Schema.Literals(["a", "b", "c", "d", "e", "f"]),
  dueAt: Schema.UndefinedOr(Schema.Int.check(Schema.isBetween({ minimum: -3, maximum: 3 })))
})

describe("the index in memory", () => {
  it.prop(
    "has the rows in their order, after any changes, and leaves earlier values as they were",
    [Schema.Array(Change)],
    ([changes]) => {
      const rows = new Map<string, Row>()
      let tree = empty
      for (const [version, { dueAt, id }] of changes.entries()) {
        const [before, was] = [tree, page(tree, undefined, 100)]
        if (dueAt === undefined) rows.delete(id)
        else rows.set(id, { id, dueAt, version })
        const row = rows.get(id)
        tree = change(tree, { rows: row === undefined ? [] : [row], gone: row === undefined ? [id] : [] })
        assert.deepStrictEqual(page(before, undefined, 100), was)
      }
      const sorted = [...rows.values()].sort(compare)
      assert.deepStrictEqual(page(tree, undefined, 100), sorted)
      for (const [n, row] of sorted.entries()) assert.deepStrictEqual(page(tree, row, 2), sorted.slice(n + 1, n + 3))
    }
  )

  it("finds what is due among many without looking at all of them", () => {
    const rows = Array.from({ length: 100_000 }, (_, n) => ({ id: `payment ${n}`, dueAt: n, version: 0 }))
    const tree = change(empty, { rows, gone: [] })
    const depth = (node: typeof tree.root): number =>
      node === undefined ? 0 : 1 + Math.max(depth(node.left), depth(node.right))
    assert.isBelow(depth(tree.root), 100)
    assert.deepStrictEqual(page(tree, rows[49_999], 2), rows.slice(50_000, 50_002))
  })
})
