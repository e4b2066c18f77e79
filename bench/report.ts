import type { Comparison } from "./compare.ts"

/** One row of what is reported. */
export interface Row extends Comparison {
  readonly name: string
  readonly unit: string
  readonly verdict: string
}

const grouped = (value: number): string => Math.round(value).toLocaleString("en-US")

/** A ratio to nothing says nothing. */
const fixed = (ratio: number): string => (Number.isFinite(ratio) ? ratio.toFixed(2) : "")

export const microseconds = (seconds: number): string => `${grouped(seconds * 1e6)} µs`

/** Columns side by side: the first and the last to the left, the others to the right. */
export const table = (header: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const lines = [header, ...rows]
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)))
  const pad = (text: string, width: number, column: number) =>
    column === 0 || column === header.length - 1 ? text.padEnd(width) : text.padStart(width)
  return lines
    .map((line) =>
      widths
        .map((width, column) => pad(line[column] ?? "", width, column))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** Comparisons as people read them: medians, their ratio, the ratios of the single rounds, and what was aimed at. */
export const report = (other: string, rows: ReadonlyArray<Row>): string =>
  table(
    ["", "unit", "ours", other, `ours/${other}`, "rounds", "target"],
    rows.map(({ name, unit, ours, other, ratio, range, verdict }) => [
      name,
      unit,
      grouped(ours),
      grouped(other),
      fixed(ratio),
      range.map(fixed).join("–"),
      verdict
    ])
  )
