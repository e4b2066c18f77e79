/**
 * The index of a deadline in memory: a persistent search tree (a treap). A change takes logarithmic time and leaves the
 * previous value unchanged.
 */
import { Hash, HashMap, Option } from "effect"
import type { Changes, Row } from "./dueRow.ts"
import { compare } from "./dueRow.ts"

interface Node {
  readonly row: Row
  readonly left: Node | undefined
  readonly right: Node | undefined
}

export interface DueTree {
  readonly root: Node | undefined
  readonly byId: HashMap.HashMap<string, Row>
}

export const empty: DueTree = { root: undefined, byId: HashMap.empty() }

/** The priority that balances the tree: practically random, and always the same for a row. */
const priority = ({ dueAt, id }: Row): number => {
  let bits = Hash.string(id) ^ dueAt
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

const merge = (left: Node | undefined, right: Node | undefined): Node | undefined => {
  if (left === undefined) return right
  if (right === undefined) return left
  return priority(left.row) > priority(right.row)
    ? { ...left, right: merge(left.right, right) }
    : { ...right, left: merge(left, right.left) }
}

/** The rows before a row, and the others. */
const split = (node: Node | undefined, at: Row): readonly [Node | undefined, Node | undefined] => {
  if (node === undefined) return [undefined, undefined]
  if (compare(node.row, at) < 0) {
    const [before, after] = split(node.right, at)
    return [{ ...node, right: before }, after]
  }
  const [before, after] = split(node.left, at)
  return [before, { ...node, left: after }]
}

const insert = (root: Node | undefined, row: Row): Node | undefined => {
  const [before, after] = split(root, row)
  return merge(merge(before, { row, left: undefined, right: undefined }), after)
}

const remove = (node: Node | undefined, row: Row): Node | undefined => {
  if (node === undefined) return undefined
  const order = compare(row, node.row)
  if (order === 0) return merge(node.left, node.right)
  return order < 0 ? { ...node, left: remove(node.left, row) } : { ...node, right: remove(node.right, row) }
}

const without = ({ root, byId }: DueTree, id: string): DueTree =>
  Option.match(HashMap.get(byId, id), {
    onNone: () => ({ root, byId }),
    onSome: (row) => ({ root: remove(root, row), byId: HashMap.remove(byId, id) })
  })

export const change = (tree: DueTree, { gone, rows }: Changes): DueTree => {
  let changed = tree
  for (const id of gone) changed = without(changed, id)
  for (const row of rows) {
    const { byId, root } = without(changed, row.id)
    changed = { root: insert(root, row), byId: HashMap.set(byId, row.id, row) }
  }
  return changed
}

/** The first rows after a row, or from the beginning. */
export const page = ({ root }: DueTree, after: Row | undefined, limit: number): ReadonlyArray<Row> => {
  const rows: Array<Row> = []
  const visit = (node: Node | undefined): void => {
    if (node === undefined || rows.length === limit) return
    const isAfter = after === undefined || compare(node.row, after) > 0
    if (isAfter) {
      visit(node.left)
      if (rows.length < limit) rows.push(node.row)
    }
    visit(node.right)
  }
  visit(root)
  return rows
}
