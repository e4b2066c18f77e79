/** Refuses variables that have no effect: misspelt ones, and settings of the Python library. */
import type { ConfigProvider } from "effect"
import { Effect } from "effect"
import { textOf } from "./provider.ts"
import type { BackendName } from "./variables.ts"
import * as Variables from "./variables.ts"

/** The most letters that may be wrong in a misspelt name. */
const MISSPELT = 2

/** How many letters to change to turn a text into each beginning of another one, from its first letter on. */
const distances = (from: string, to: string): ReadonlyArray<number> => {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...to].entries()) {
      const changed = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row
}

const isMisspelt = (name: string, known: string): boolean =>
  name[0] === known[0] && (distances(name, known)[known.length] ?? 0) <= MISSPELT

/** Whether a name may be the beginning of a misspelling of one of these. */
const leadsTo = (name: string, known: ReadonlySet<string>): boolean =>
  [...known].some((one) => name[0] === one[0] && Math.min(...distances(name, one)) <= MISSPELT)

const beginsWith = (name: string, words: ReadonlyArray<string>): boolean =>
  words.some((word) => name === word || name.startsWith(`${word}_`))

/** The variables that are set and may be meant for the library. */
const namesIn = (
  provider: ConfigProvider.ConfigProvider,
  known: ReadonlySet<string>,
  words: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<string>, ConfigProvider.SourceError> => {
  // an environment is a tree that branches at each "_"; other providers are flat
  const below = (path: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, ConfigProvider.SourceError> =>
    Effect.gen(function* () {
      const name = path.join("_")
      if (name !== "" && !beginsWith(name, words) && !leadsTo(name, known)) return []
      const node = yield* provider.load(path)
      if (node === undefined) return []
      const found = name !== "" && (node.value ?? "") !== "" ? [name] : []
      if (node._tag === "Record") for (const key of node.keys) found.push(...(yield* below([...path, key])))
      return found
    })
  return below([])
}

/** What is wrong with the names of the variables, one text for each; `used`: the backends that are used. */
export const nameProblems = (
  provider: ConfigProvider.ConfigProvider,
  prefix: string,
  used: ReadonlyArray<BackendName>
): Effect.Effect<ReadonlyArray<string>, ConfigProvider.SourceError> =>
  Effect.gen(function* () {
    const areas = ["log", ...used] as const
    const prefixes = prefix === "" ? [""] : [prefix, ""]
    const known = new Set(
      [...Variables.all].flatMap((name) =>
        areas.some((area) => isOf(area, name)) ? prefixes.map((p) => p + name) : []
      )
    )
    const strict = used.flatMap((backend) => Variables.families[backend]).map((word) => `${prefix}${word}`)
    const foreign = new Map(areas.flatMap((area) => Object.entries(Variables.foreign[area])))
    const problems: Array<string> = []
    for (const p of prefixes) {
      for (const [name, advice] of foreign) {
        if ((yield* textOf(provider, `${p}${name}`)) === undefined) continue
        problems.push(`${p}${name} is a setting of another library and has no effect here; ${advice}`)
      }
    }
    for (const name of yield* namesIn(provider, known, prefix === "" ? [] : strict)) {
      const plain = prefix !== "" && name.startsWith(prefix) ? name.slice(prefix.length) : name
      if (Variables.all.has(plain) || foreign.has(plain)) continue
      const meant = [...known].find((one) => isMisspelt(name, one))
      if (meant !== undefined && (yield* textOf(provider, meant)) === undefined) {
        problems.push(`${name} is not a setting; use ${meant}`)
      } else if (meant === undefined && prefix !== "" && beginsWith(name, strict)) {
        const all = areas.flatMap((area) => Variables.variables[area].filter((one) => isSameFamily(one, plain)))
        problems.push(`${name} is not a setting; use one of ${all.map((one) => prefix + one).join(", ")}`)
      }
    }
    return problems
  })

const isOf = (area: "log" | BackendName, name: string): boolean =>
  (Variables.variables[area] as ReadonlyArray<string>).includes(name)

const isSameFamily = (a: string, b: string): boolean => a.split("_")[0] === b.split("_")[0]
