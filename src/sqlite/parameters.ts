import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

/** Values for a statement, by the names of its parameters or in their order. */
export interface Values {
  readonly named: Readonly<Record<string, SQLInputValue>>
  readonly inOrder: ReadonlyArray<SQLInputValue>
}

/** Turns the values of a statement's parameters, in their order, into what `node:sqlite` accepts. */
export type ToValues = (statement: StatementSync, params: ReadonlyArray<unknown>) => Values

const NONE: Values["named"] = {}

const inOrder: ToValues = (_statement, params) => ({ named: NONE, inOrder: params as ReadonlyArray<SQLInputValue> })

/** Numbered parameters, and what looks like one in strings, quoted names and comments. */
const NUMBERED = /'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|--.*|\/\*[\s\S]*?\*\/|\?(\d+)/g

const numbersOf = (sql: string): ReadonlyArray<string> =>
  [...sql.matchAll(NUMBERED)].flatMap(([, number]) => (number === undefined ? [] : [number]))

/**
 * Values by the numbers of parameters (`?1`), which the `node:sqlite` of Node 22 treats as names: passed in order, they
 * are refused as "column index out of range".
 */
const byNumber = (): ToValues => {
  const known = new WeakMap<StatementSync, ReadonlyArray<string>>()
  return (statement, params) => {
    const numbers = known.get(statement) ?? numbersOf(statement.sourceSQL)
    known.set(statement, numbers)
    if (numbers.length === 0) return inOrder(statement, params)
    const named = Object.fromEntries(numbers.map((number) => [`?${number}`, params[Number(number) - 1]]))
    return { named: named as Record<string, SQLInputValue>, inOrder: [] }
  }
}

/** The form that the `node:sqlite` of this runtime accepts. */
export const toValuesOf = (db: Pick<DatabaseSync, "prepare">): ToValues => {
  try {
    db.prepare("SELECT ?1").get(1)
    return inOrder
  } catch {
    return byNumber()
  }
}
