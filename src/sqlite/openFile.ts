/**
 * Checks whether the files that SQLite has open are still those at their names.
 *
 * SQLite opens a file by its name once. Later somebody may remove it, rename it or put another in its place (a backup,
 * by `mv`), and do the same to its `-wal` and `-shm`. Another SQLite library in this process can do so too: it knows
 * nothing of our locks (https://www.sqlite.org/howtocorrupt.html, 2.2.1), assumes that it is the last to close the file
 * and removes its `-wal`. SQLite continues writing to what it has open, and a process that opens the name finds none of
 * it. The files are therefore compared by device and inode, as SQLite itself does if it has a rollback journal.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** The files at the names are not those that are open. */
export class FileLost extends Error {
  /** Whether it is the database file itself, and not only its `-wal` or `-shm`. */
  readonly isDatabase: boolean
  constructor(message: string, isDatabase: boolean) {
    super(message)
    this.isDatabase = isDatabase
  }
}

/** Identifies a file for as long as it is open. */
export interface Identity {
  readonly dev: bigint
  readonly ino: bigint
}

/** Detects changes to the files of a database. */
export interface OpenFile {
  /** Whether this is the database's file, under whatever name. */
  readonly is: (identity: Identity) => boolean
  /**
   * Adds another name by which the file was opened, for as long as it is open by that name. Returns a function that
   * removes it.
   */
  readonly addName: (name: string) => () => void
  /**
   * Throws {@link FileLost} if a file is not the one that is open. Takes about two microseconds: one `stat` of the
   * directory.
   */
  readonly check: () => void
}

/** The file at a path; `undefined` also if it can't be inspected. */
export const identify = (path: string): Identity | undefined => statOf(path)

const statOf = (path: string): Fs.BigIntStats | undefined => {
  try {
    return Fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

const areSame = (a: Identity | undefined, b: Identity | undefined): boolean =>
  a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev

/**
 * For how long, in milliseconds, a directory must have been unchanged for the next change to get a different time. File
 * systems that store fractions of a second use the time of the kernel's last tick; others store times with a resolution
 * of 2 seconds at worst.
 */
const settledAfter = ({ mtimeNs }: Fs.BigIntStats): number => (mtimeNs % 1_000_000_000n === 0n ? 5000 : 100)

/** For how long, in milliseconds, an unchanged directory is taken to mean unchanged files, at most. */
const TRUSTED = 1000

/** The files of a database that a connection has open at this path, which is absolute and contains no link. */
export const watch = (path: string, database: Identity): OpenFile => {
  const companions = [`${path}-wal`, `${path}-shm`].flatMap((name) => {
    const identity = identify(name)
    return identity === undefined ? [] : [{ name, identity }]
  })
  const directory = Path.dirname(path)
  const names = new Set<{ readonly name: string }>()
  let trusted: Fs.BigIntStats | undefined
  let lookedAt = 0

  const checkFiles = () => {
    if (!areSame(identify(path), database)) throw new FileLost(databaseLost(path), true)
    const lost = companions.find(({ name, identity }) => !areSame(identify(name), identity))
    if (lost !== undefined) throw new FileLost(companionLost(lost.name), false)
  }

  const checkNames = () => {
    for (const { name } of names) {
      const found = identify(name)
      // a link that no longer exists can't lead to another file
      if (found !== undefined && !areSame(found, database)) throw new FileLost(databaseLost(name), true)
    }
  }

  return {
    is: (identity) => areSame(identity, database),
    addName: (name) => {
      const added = { name }
      if (name !== path) names.add(added)
      return () => names.delete(added)
    },
    check: () => {
      if (names.size > 0) checkNames()
      const found = statOf(directory)
      // the clock of the file system, which no program sets
      const now = Date.now()
      const isUnchanged =
        trusted !== undefined &&
        found?.mtimeNs === trusted.mtimeNs &&
        areSame(found, trusted) &&
        now - lookedAt < TRUSTED &&
        now >= lookedAt
      if (isUnchanged) return
      checkFiles()
      trusted = found !== undefined && now - Number(found.mtimeMs) > settledAfter(found) ? found : undefined
      lookedAt = now
    }
  }
}

const NO_MORE =
  "so nothing more is recorded or read here. Close everything that has it open, in every process, make sure that the right file is in its place, without the -wal and -shm of another beside it, and open it again"

const databaseLost = (name: string) =>
  `SQLite file "${name}" was removed or renamed, or another file was put in its place, while it was open, ${NO_MORE}`

const companionLost = (name: string) =>
  `SQLite file "${name}" was removed or replaced while its database was open, as a second SQLite library in this process does (better-sqlite3, an ORM) when it closes the database, ${NO_MORE}. Use layerSqlClient for your own SQL, or another process for the other library`
