/** JSON of any program: parsed as the official client parses it, and written without changing anything. */
import { rawJson } from "./values.ts"

const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true })

/** Bytes as text. Bytes that are not UTF-8 are replaced, as the client does. */
export const textOf = (bytes: Uint8Array): string => fromUtf8.decode(bytes)

/** The value of a text that is JSON, otherwise the text. */
export const parseJson = (bytes: Uint8Array): unknown => {
  const text = textOf(bytes)
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Keeps a number that is too large for JavaScript. */
const keepLarge = (_key: string, value: unknown): unknown =>
  value === Number.POSITIVE_INFINITY ? LARGE : value === Number.NEGATIVE_INFINITY ? SMALL : value

const LARGE = rawJson("1e999")
const SMALL = rawJson("-1e999")

/** A parsed value as JSON again. It may be nested more deeply than the call stack allows. */
export const toJson = (value: unknown): string => {
  try {
    return JSON.stringify(value, keepLarge)
  } catch (error) {
    if (error instanceof RangeError) return writeJson(value)
    throw error
  }
}

/** A piece of text among values that are to be written. */
class Text {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

const writeJson = (root: unknown): string => {
  const written: Array<string> = []
  const rest: Array<unknown> = [root]
  const push = (open: string, items: ReadonlyArray<readonly [before: string, value: unknown]>, close: string) => {
    rest.push(new Text(close))
    for (let n = items.length - 1; n >= 0; n--) {
      const [before, value] = items[n] as readonly [string, unknown]
      rest.push(value, new Text(n === 0 ? before : `,${before}`))
    }
    rest.push(new Text(open))
  }
  while (rest.length > 0) {
    const next = rest.pop()
    if (next instanceof Text) written.push(next.text)
    else if (Array.isArray(next)) {
      push(
        "[",
        next.map((value) => ["", value]),
        "]"
      )
    } else if (isRecord(next)) {
      push(
        "{",
        Object.entries(next).map(([key, value]) => [`${JSON.stringify(key)}:`, value]),
        "}"
      )
    } else written.push(JSON.stringify(next, keepLarge))
  }
  return written.join("")
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null
