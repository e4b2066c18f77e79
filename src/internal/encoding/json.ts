/**
 * `JSON.parse` that returns the keys that are in the text.
 *
 * V8 13.6 (Node 24) can mistake a key with an escape (`"a\\t"`) for another such key that it has parsed before
 * (https://github.com/nodejs/node/issues/63785). A text without a backslash has no such key, and is parsed as it is.
 */
export const parse = (text: string): unknown => {
  if (!text.includes("\\")) return JSON.parse(text)
  const keys = escapedKeys(text)
  return keys.length === 0 ? JSON.parse(text) : parseWithout(keys, text)
}

/** Whether an object in a JSON text has a key that is written with an escape. */
export const hasEscapedKey = (text: string): boolean => text.includes("\\") && escapedKeys(text).length > 0

/** Where a key begins and ends in the text, its quotes included. */
type Span = readonly [start: number, end: number]

const escapedKeys = (text: string): ReadonlyArray<Span> => {
  const keys: Array<Span> = []
  let escape = text.indexOf("\\")
  for (let start = text.indexOf('"'); start !== -1; ) {
    const end = endOfString(text, start)
    if (escape < start) escape = text.indexOf("\\", start)
    // no more escapes: the rest has no such key
    if (escape === -1) break
    if (escape < end && isFollowedByColon(text, end)) keys.push([start, end])
    start = text.indexOf('"', end)
  }
  return keys
}

/** The index after the closing quote of the string that begins at `start`. */
const endOfString = (text: string, start: number): number => {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0
    while (text[quote - 1 - backslashes] === "\\") backslashes++
    if (backslashes % 2 === 0) return quote + 1
  }
  return text.length
}

const isFollowedByColon = (text: string, index: number): boolean => {
  let next = index
  while (text[next] === " " || text[next] === "\n" || text[next] === "\r" || text[next] === "\t") next++
  return text[next] === ":"
}

/** Parses a text with placeholders for the keys that have escapes, and then puts the keys in their places. */
const parseWithout = (spans: ReadonlyArray<Span>, text: string): unknown => {
  let mark = "\uE000"
  while (text.includes(mark)) mark += "\uE000"
  const standIns = new Map<string, string>()
  const keys = new Map<string, string>()
  let replaced = ""
  let from = 0
  for (const [start, end] of spans) {
    // a string on its own is parsed correctly
    const key = JSON.parse(text.slice(start, end)) as string
    const standIn = standIns.get(key) ?? `${mark}${standIns.size}`
    standIns.set(key, standIn)
    keys.set(standIn, key)
    replaced += `${text.slice(from, start)}"${standIn}"`
    from = end
  }
  const root = { value: JSON.parse(replaced + text.slice(from)) as unknown }
  rename(root, keys)
  return root.value
}

/**
 * Renames the keys of all objects within a value. Not recursive: JSON may be nested more deeply than the stack allows.
 */
const rename = (root: object, keys: ReadonlyMap<string, string>): void => {
  const open: Array<object> = [root]
  for (let container = open.pop(); container !== undefined; container = open.pop()) {
    for (const [name, child] of Object.entries(container)) {
      if (typeof child !== "object" || child === null) continue
      const renamed: object = Array.isArray(child) ? child : withKeys(child, keys)
      if (renamed !== child) define(container, name, renamed)
      open.push(renamed)
    }
  }
}

const withKeys = (object: object, keys: ReadonlyMap<string, string>): object => {
  const names = Object.keys(object)
  if (!names.some((name) => keys.has(name))) return object
  const renamed = {}
  for (const [name, value] of Object.entries(object)) define(renamed, keys.get(name) ?? name, value)
  return renamed
}

/** Sets an own property, even if it is named `__proto__`. */
const define = (object: object, name: string, value: unknown): void => {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true })
}
