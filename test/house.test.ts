/**
 * Rules for the sources as texts: how they import, where they overrule the compiler, what they decide by, and where
 * their tests are.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"

const root = Path.resolve(import.meta.dirname, "..", "src")

const sources: ReadonlyMap<string, string> = new Map(
  Fs.readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => [file.replaceAll("\\", "/"), Fs.readFileSync(Path.join(root, file), "utf8")])
)

const withoutComments = (source: string): string =>
  source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "")

interface Import {
  readonly from: string
  readonly to: string
  readonly isType: boolean
}

const IMPORT = /^(?:import|export)\s+(type\s+)?[^"]*?from\s+"(\.[^"]+)"|^import\s+"(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm

const imports: ReadonlyArray<Import> = [...sources].flatMap(([from, source]) =>
  Array.from(withoutComments(source).matchAll(IMPORT), ([, type, one, two, three]) => ({
    from,
    to: Path.posix.join(Path.posix.dirname(from), one ?? two ?? three ?? ""),
    isType: type !== undefined
  }))
)

/** The room of a file: its folder; `""` is the room of the public modules. */
const roomOf = (file: string): string => {
  const folder = Path.posix.dirname(file)
  return folder === "." ? "" : folder
}

/** The rooms from the lowest to the highest: each imports from the rooms in the lines before its own. */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  ["internal/concurrency", "internal/encoding", "internal/errors", "internal/observability", "internal/schema"],
  ["internal/aggregate", "internal/backend"],
  ["internal/decision"],
  ["internal/eventStore", "internal/following"],
  ["internal/repository"],
  ["internal/projection"],
  ["internal/process", "internal/deadline"],
  ["internal/sql"],
  ["kurrent/connection", "memory/views", "postgres/sql"],
  ["kurrent/client"],
  ["kurrent/log"],
  ["kurrent", "memory", "postgres", "sqlite"],
  ["config"]
]

/**
 * The public modules whose values rooms of `internal` import: plain definitions, errors, names, ports. The others are
 * above.
 */
const foundations = new Set([
  "Cipher.ts",
  "Decision.ts",
  "DomainEvent.ts",
  "EventSourcingError.ts",
  "Evolution.ts",
  "LogReader.ts",
  "Metadata.ts",
  "MultiStreamAppend.ts",
  "Position.ts",
  "Recorder.ts",
  "StoredEvent.ts",
  "StreamName.ts",
  "TrackedAppend.ts",
  "Tracking.ts",
  "TransactionalAppend.ts",
  "ViewStore.ts"
])

const isTesting = (file: string): boolean => file.startsWith("testing/")
const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room))
const show = ({ from, to }: Import): string => `${from} imports ${to}`

describe("imports", () => {
  it("are found", () => {
    assert.isAbove(imports.length, 500)
    for (const { from, to } of imports) assert.isTrue(sources.has(to), `${from} imports ${to}, which is not there`)
  })

  it("of values have no cycle", () => {
    const values = Map.groupBy(
      imports.filter(({ isType }) => !isType),
      ({ from }) => from
    )
    const done = new Set<string>()
    const visit = (file: string, path: ReadonlyArray<string>): void => {
      const begin = path.indexOf(file)
      if (begin !== -1) assert.fail(`a cycle: ${[...path.slice(begin), file].join(" -> ")}`)
      if (done.has(file)) return
      for (const { to } of values.get(file) ?? []) visit(to, [...path, file])
      done.add(file)
    }
    for (const file of sources.keys()) visit(file, [])
  })

  it("go down from room to room", () => {
    const rooms = new Set([...sources.keys()].filter((file) => !isTesting(file)).map(roomOf))
    rooms.delete("")
    assert.deepStrictEqual(
      [...rooms].filter((room) => floorOf(room) === -1),
      [],
      "a new room needs a place among the floors of this test"
    )
    const wrong = imports.filter(({ from, to }) => {
      const [above, below] = [roomOf(from), roomOf(to)]
      return !isTesting(from) && above !== below && above !== "" && below !== "" && floorOf(above) <= floorOf(below)
    })
    assert.deepStrictEqual(wrong.map(show), [])
  })

  it("of public modules come from no backend and no test kit", () => {
    const wrong = imports.filter(({ from, to }) => roomOf(from) === "" && !/^(?:internal\/|[^/]+$)/.test(to))
    assert.deepStrictEqual(wrong.map(show), [])
  })

  it("of internal rooms use only the types of public modules above them", () => {
    const wrong = imports.filter(
      ({ from, to, isType }) => from.startsWith("internal/") && roomOf(to) === "" && !isType && !foundations.has(to)
    )
    assert.deepStrictEqual(wrong.map(show), [])
  })
})

describe("casts that the compiler can't check", () => {
  const casts = [...sources]
    .filter(([file]) => !isTesting(file))
    .flatMap(([file, source]) => {
      const lines = source.split("\n")
      return lines.flatMap((line, index) =>
        /\bas (?:never|unknown as)\b/.test(line) && !/^\s*(?:\/\/|\*|\/\*)/.test(line)
          ? [{ place: `${file}:${index + 1}`, reason: /^\s*\/\/ (.+)$/.exec(lines[index - 1] ?? "")?.[1] }]
          : []
      )
    })

  it("are at most 15", () => {
    assert.isAtMost(casts.length, 15, casts.map(({ place }) => place).join(", "))
  })

  it("each have a line above that says why the compiler can't know", () => {
    assert.deepStrictEqual(
      casts.filter(({ reason }) => reason === undefined || reason.length < 20).map(({ place }) => place),
      []
    )
  })
})

describe("functions", () => {
  const MOST_LINES = 150
  const indentation = (line: string): number => line.length - line.trimStart().length
  const BEGINS = /=>(?: \(?)?\{?$|\bfunction\b.*\($|\bfunction\*? ?(?:\w+)?\(.*\) ?(?::.*)? ?\{$|^\s*\).*\{$/

  /** The first line and the length of each function that begins a block; formatted code is indented by its depth. */
  const lengths = [...sources]
    .filter(([file]) => !isTesting(file))
    .flatMap(([file, source]) => {
      const lines = source.split("\n")
      return lines.flatMap((line, begin) => {
        if (!BEGINS.test(line) || /^\s*(?:\/\/|\*|\/\*)/.test(line)) return []
        const isEnd = (other: string, i: number) =>
          i > begin && other !== "" && indentation(other) <= indentation(line) && !/^\s*\).*[:{]$/.test(other)
        return [{ place: `${file}:${begin + 1}`, length: lines.findIndex(isEnd) - begin + 1 }]
      })
    })

  it("are found", () => {
    assert.isAbove(lengths.length, 1500)
    assert.isAbove(Math.max(...lengths.map(({ length }) => length)), 100)
  })

  it(`have at most ${MOST_LINES} lines`, () => {
    assert.deepStrictEqual(
      lengths.filter(({ length }) => length > MOST_LINES),
      []
    )
  })
})

describe("decisions by the text of an error", () => {
  const LOOKED_FOR =
    /\b(?:message|reason|said|found|problem)\)?\??\.(?:includes|startsWith|endsWith|match|search)\((.*?)\)/g
  const words = [...sources].flatMap(([file, source]) =>
    Array.from(withoutComments(source).matchAll(LOOKED_FOR), ([, text = ""]) => ({ file, text }))
  )

  it("are found", () => {
    assert.isAbove(words.length, 2)
  })

  it("do not depend on our own wording, which can be edited", () => {
    const all = [...sources.values()].map(withoutComments).join("\n")
    const own = words.filter(({ text }) => {
      const literal = /^"([^"]+)"$/.exec(text)?.[1]
      return literal === undefined || all.split(literal).length > 2
    })
    assert.deepStrictEqual(own, [])
  })
})

describe("tests", () => {
  /** Folders that are not about a single module or room. */
  const subjects = [
    "browser",
    "docs",
    "examples",
    "kurrent/fake",
    "large",
    "observability",
    "runtimes",
    "support",
    "types"
  ]

  /** The names that the files and folders of `src` have here: a module's folder begins with a lower-case letter. */
  const places = new Set<string>()
  for (const file of sources.keys()) {
    const module = file.replace(/\.ts$/, "")
    places.add(module).add(module.replace(/[^/]+$/, (name) => `${name.charAt(0).toLowerCase()}${name.slice(1)}`))
    for (let room = roomOf(file); room !== "" && room !== "."; room = Path.posix.dirname(room)) places.add(room)
  }

  const files = Fs.readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".test.ts") && !subjects.some((subject) => file.startsWith(`${subject}/`)))

  it("are found", () => assert.isAbove(files.length, 100))

  it("are in a folder named after a room or module, or are named after one", () => {
    const elsewhere = files.filter((file) => {
      const folder = Path.posix.dirname(file)
      const name = Path.posix.basename(file, ".test.ts")
      // a lower-case name is about all of the sources, such as this file
      return folder === "." ? /^[A-Z]/.test(name) && !places.has(name) : !places.has(folder)
    })
    assert.deepStrictEqual(elsewhere, [])
  })

  it("do not repeat the name of their folder", () => {
    const repeating = files.filter((file) => {
      const [name, folder] = file.split("/").reverse()
      return folder !== undefined && new RegExp(`^${folder}[.-]`, "i").test(name ?? "")
    })
    assert.deepStrictEqual(repeating, [])
  })
})
