/** Compares expected and actual results, and shows the difference line by line. */
import { Equal, Formatter } from "effect"

/** Whether two values are the same. Errors are compared by their class, their fields and their message. */
export const isSame = (a: unknown, b: unknown): boolean => {
  if (!(a instanceof Error && b instanceof Error)) return Equal.equals(a, b)
  const haveSameClass = Object.getPrototypeOf(a) === Object.getPrototypeOf(b)
  return haveSameClass && a.message === b.message && Equal.equals(fieldsOf(a), fieldsOf(b))
}

/** A value as text, on one or more lines. */
export const show = (value: unknown): string => {
  if (value instanceof Error) return showError(value)
  if (!isTagged(value)) return Formatter.format(value, { space: 2 })
  return showFields(value._tag, fieldsOf(value))
}

const isTagged = (value: unknown): value is { readonly _tag: string } =>
  typeof value === "object" && value !== null && "_tag" in value && typeof value._tag === "string"

const fieldsOf = (value: object): object => {
  const { _tag, name, ...fields } = value as { readonly _tag?: unknown; readonly name?: unknown }
  // the `name` of an error is its class's
  return name === undefined || value instanceof Error ? fields : { name, ...fields }
}

const showFields = (name: string, fields: object): string =>
  Object.keys(fields).length === 0 ? name : `${name} ${Formatter.format(fields, { space: 2 })}`

const showError = (error: Error): string => {
  const shown = showFields(isTagged(error) ? error._tag : error.name, fieldsOf(error))
  return error.message === "" ? shown : `${shown}: ${error.message}`
}

/** Lines that are only in the expected result with a `-`, those only in the actual one with a `+`. */
export const difference = (expected: ReadonlyArray<string>, actual: ReadonlyArray<string>): string => {
  const [before, after] = [expected.flatMap(linesOf), actual.flatMap(linesOf)]
  const lines = compareLines(before, after)
  if (lines.some((line) => !line.startsWith(" "))) return lines.join("\n")
  return [...lines, "(they look the same, but they are not equal)"].join("\n")
}

const linesOf = (text: string): ReadonlyArray<string> => text.split("\n")

/** By the longest common subsequence. */
const compareLines = (before: ReadonlyArray<string>, after: ReadonlyArray<string>): ReadonlyArray<string> => {
  /** At `[i][j]`: how many lines the rest of both, from there on, have in common. */
  const common: Array<Array<number>> = before.map(() => [])
  const at = (i: number, j: number): number => common[i]?.[j] ?? 0
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      const row = common[i] as Array<number>
      row[j] = before[i] === after[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  }
  const lines: Array<string> = []
  let [i, j] = [0, 0]
  while (i < before.length || j < after.length) {
    if (i < before.length && before[i] === after[j]) {
      lines.push(`  ${before[i++]}`)
      j++
    } else if (j === after.length || (i < before.length && at(i + 1, j) >= at(i, j + 1))) lines.push(`- ${before[i++]}`)
    else lines.push(`+ ${after[j++]}`)
  }
  return lines
}
