/** Numbered parameters, also on a `node:sqlite` that accepts them only by name, like that of Node 22. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "vitest"
import { toValuesOf } from "../../src/sqlite/parameters.ts"

const refuses = (): never => {
  throw new Error("column index out of range")
}

describe.each([
  ["takes them in their order", (db: DatabaseSync) => toValuesOf(db)],
  ["takes them by name", () => toValuesOf({ prepare: refuses })]
])("a node:sqlite that %s", (_, toValues) => {
  const valuesOf = (sql: string, ...params: ReadonlyArray<unknown>) => {
    const db = new DatabaseSync(":memory:")
    const statement = db.prepare(sql)
    statement.setReturnArrays(true)
    const { inOrder, named } = toValues(db)(statement, params)
    return statement.get(named, ...inOrder) as unknown
  }

  it("receives each value at its number, as often as that occurs", () => {
    assert.deepStrictEqual(valuesOf("SELECT ?2, ?1, ?2", "a", "b"), ["b", "a", "b"])
    assert.deepStrictEqual(valuesOf("SELECT ?10, ?1", ..."abcdefghij"), ["j", "a"])
  })

  it("receives the values of parameters without numbers in their order", () => {
    assert.deepStrictEqual(valuesOf("SELECT ?, ?", 1, null), [1, null])
  })

  it("is not confused by text that looks like a number", () => {
    assert.deepStrictEqual(valuesOf(`SELECT '?3', ?1 AS "?4" -- ?5\n /* ?6 */`, "a"), ["?3", "a"])
  })
})
