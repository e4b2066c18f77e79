/** Git repositories made for a test, and the counts that git itself reports. */
import { isUtf8 } from "node:buffer"
import { execFileSync } from "node:child_process"

/** The configuration of the user who runs the tests must not change git's output. */
export const env = { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_NOSYSTEM: "1", LC_ALL: "C" }

/** Runs git in a repository. */
export const git = (repository: string, args: ReadonlyArray<string>, input?: Buffer): Buffer =>
  execFileSync("git", ["-C", repository, ...args], {
    env,
    maxBuffer: 2 ** 30,
    stdio: ["pipe", "pipe", "pipe"],
    ...(input === undefined ? {} : { input })
  })

/** Creates a repository without commits. */
export const init = (repository: string, ...options: ReadonlyArray<string>): void => {
  execFileSync("git", ["init", "--quiet", "--initial-branch=main", ...options, repository], { env })
}

/** A commit to be made. */
export interface NewCommit {
  /** Bytes, because names need not be UTF-8: `Name <email>`. */
  readonly author: string | Buffer
  /** The ref that is moved to it. Default: the branch main. */
  readonly ref?: string
  /** Its parents, as git names commits (`refs/heads/main~2`). Default: the commit that the ref points to, if any. */
  readonly parents?: ReadonlyArray<string>
  /** The files that it writes. Default: one, with a text of its own. */
  readonly files?: Readonly<Record<string, string | Buffer>>
  /** The files that it renames, from and to. */
  readonly renames?: Readonly<Record<string, string>>
  /** The encoding that it declares for its texts. */
  readonly encoding?: string
}

let made = 0

/** Makes any number of commits with one call of git. */
export const commit = (repository: string, commits: Iterable<NewCommit>): void => {
  const script: Array<Buffer> = []
  const write = (...parts: ReadonlyArray<string | Buffer>) => {
    for (const part of parts) script.push(Buffer.from(part))
  }
  const data = (content: string | Buffer) => write(`data ${Buffer.byteLength(content)}\n`, content, "\n")
  // the tips of the refs that were moved here; others are where they were before
  const tips = new Map<string, string>()
  const hashOf = (name: string) => git(repository, ["rev-parse", name]).toString().trim()
  const exists = (ref: string) => git(repository, ["for-each-ref", ref]).length > 0
  for (const { author, encoding, files, parents, ref = "refs/heads/main", renames = {} } of commits) {
    const number = ++made
    const at = `${1_600_000_000 + number * 60} +0000\n`
    const from = parents ?? (tips.has(ref) || exists(ref) ? [ref] : [])
    const parentHashes = from.map((name) => tips.get(name) ?? hashOf(name))
    // a ref that is reset takes its first parent from "from", or has none
    write(`reset ${ref}\n`, `commit ${ref}\nmark :${number}\n`)
    write("author ", author, ` ${at}`, `committer Importer <importer@example.org> ${at}`)
    if (encoding !== undefined) write(`encoding ${encoding}\n`)
    data(`commit ${number}`)
    parentHashes.forEach((hash, i) => {
      write(`${i === 0 ? "from" : "merge"} ${hash}\n`)
    })
    for (const [from, to] of Object.entries(renames)) write(`R ${from} ${to}\n`)
    for (const [path, content] of Object.entries(files ?? { "file.txt": `line one\nline ${number}\n` })) {
      write(`M 100644 inline ${path}\n`)
      data(content)
    }
    write("\n")
    tips.set(ref, `:${number}`)
  }
  git(repository, ["fast-import", "--quiet", "--force", "--date-format=raw"], Buffer.concat(script))
}

/** How many commits each author has, and how many lines they added and removed. */
export type Counts = ReadonlyMap<string, readonly [commits: number, added: number, removed: number]>

/** The counts by git: commits with `git shortlog -sne --all`, lines with `git log --all --numstat`. */
export const gitCounts = (repository: string): Counts => {
  const counts = new Map<string, readonly [number, number, number]>()
  for (const line of git(repository, ["shortlog", "-sne", "--all"]).toString("latin1").split("\n")) {
    const tab = line.indexOf("\t")
    if (tab !== -1) counts.set(text(line.slice(tab + 1)), [Number(line.slice(0, tab)), 0, 0])
  }
  const log = git(repository, ["log", "--all", "--numstat", "--format=%x00%aN <%aE>"]).toString("latin1")
  for (const record of log.split("\0").slice(1)) {
    const [author = "", ...files] = record.split("\n")
    const [commits, addedBefore, removedBefore] = counts.get(text(author)) ?? [0, 0, 0]
    let [added, removed] = [addedBefore, removedBefore]
    for (const file of files) {
      const [plus = "", minus = ""] = file.split("\t")
      added += Number.parseInt(plus, 10) || 0
      removed += Number.parseInt(minus, 10) || 0
    }
    counts.set(text(author), [commits, added, removed])
  }
  return counts
}

/** A name as the example prints it. */
const text = (latin1: string): string => {
  const bytes = Buffer.from(latin1, "latin1")
  return isUtf8(bytes)
    ? bytes.toString()
    : [...bytes]
        .map((byte) => (byte < 128 ? String.fromCharCode(byte) : `\\x${byte.toString(16).toUpperCase()}`))
        .join("")
}
