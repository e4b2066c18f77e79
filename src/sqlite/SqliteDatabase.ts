/**
 * One SQLite file in one process: a connection that writes, one that reads, and the queue through which all writers
 * pass.
 *
 * `node:sqlite` is synchronous. A lock held by another process is therefore waited for with Effect's clock, and
 * SQLite's own `busy_timeout`, which would block the event loop, is off. Within the process nobody ever waits for a
 * lock: opening the same file again shares the database, including its queue.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { DatabaseSync } from "node:sqlite"
import type { Context, Duration, Scope } from "effect"
import { Clock, Config, Effect, Exit, identity } from "effect"
import type { SqlClient } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure, RecorderUnavailable } from "../EventSourcingError.ts"
import { milliseconds } from "../internal/backend/options.ts"
import * as Settings from "../internal/backend/settings.ts"
import * as KeyedLock from "../internal/concurrency/keyedLock.ts"
import type { ChangeSignal } from "../internal/following/changeSignal.ts"
import { isBusy, toRecorderError } from "./errors.ts"
import { sqlite } from "./nodeSqlite.ts"
import * as OpenFile from "./openFile.ts"
import * as Queue from "./queue.ts"
import * as Client from "./sqlClient.ts"
import type { Transaction } from "./transaction.ts"
import * as Turns from "./turns.ts"

/** How a file is opened. */
export interface Options {
  /**
   * The path of the file. The file is created if it does not exist; its directory has to exist. `:memory:` is a
   * database of its own.
   */
  readonly filename: string
  /**
   * When a commit returns: `full` (default) once it is on the disk, so that it survives a power loss (G5); `normal`
   * once the operating system has it. It then survives the process, but a power loss can undo the last commits.
   */
  readonly synchronous?: "full" | "normal" | undefined
  /**
   * How long to wait for a lock that another process holds, or for a transaction of this process that holds the queue
   * of the file's writers, before `RecorderUnavailable`: at least 1 ms, or `Infinity`. Default 5 seconds. If several
   * layers of a process share a file, the value of the first one applies.
   */
  readonly lockTimeout?: Duration.Input | undefined
}

/** How a file is opened, from the configuration. */
export const config = Config.all({
  synchronous: Settings.optional(Config.Literals(["full", "normal"], "SQLITE_SYNCHRONOUS")),
  lockTimeout: Settings.lockTimeout("SQLITE_LOCK_TIMEOUT")
})

/** An open file. */
export interface SqliteDatabase {
  readonly filename: string
  readonly writer: DatabaseSync
  /** A connection of its own, which sees only what is committed; for `:memory:` the writer. */
  readonly reader: DatabaseSync
  /** Held by the current writer. */
  readonly queue: Queue.Queue
  /** Taken before the queue by transactions that keep views up to date. */
  readonly turns: Turns.Turns
  /** For how long a lock is waited for, in milliseconds. */
  readonly lockTimeout: number
  /** The user's client for the writing connection. It passes through the same queue. */
  readonly sql: SqlClient.SqlClient
  /** The transaction of {@link sql} that a fiber with this context is in, or was started in. */
  readonly transactionOf: (context: Context.Context<never>) => Transaction | undefined
  /** The signals that the recorders of this process follow, one each. All are notified of what any of them commits. */
  readonly changeSignals: Set<ChangeSignal>
  /**
   * The inline projections that the next append updates, for triggers that query them; see
   * internal/projection/inlineDatabase.ts.
   */
  inlineProjections: string
  /**
   * Throws if the file is no longer the one at its name; from then on every operation fails. A writer checks before it
   * writes, so that nothing more is written to a lost file, and after the commit, so that nothing that is only in a
   * lost file is reported as recorded (G5).
   */
  readonly check: () => void
  /** Runs something synchronous. If another process holds a lock that it needs, it sleeps and tries again. */
  readonly attempt: <A>(operation: string, f: () => A) => Effect.Effect<A, RecorderError>
  /** Reads synchronously. */
  readonly read: <A>(operation: string, f: (reader: DatabaseSync) => A) => Effect.Effect<A, RecorderError>
  /** Runs a write transaction of its own. It is synchronous, and so never interrupted between its begin and its end. */
  readonly write: <A>(operation: string, f: (writer: DatabaseSync) => A) => Effect.Effect<A, RecorderError>
}

interface Shared {
  readonly opened: Opened
  readonly synchronous: string
  users: number
}

interface Opened {
  readonly database: SqliteDatabase
  readonly file: OpenFile.OpenFile | undefined
  readonly close: () => void
}

/** The open databases, by the names of their files. A lost file stays in here only until its name is opened again. */
const shared = new Map<string, Shared>()
/** Serializes opening and closing a file. Other files are not held up by one that has to wait. */
const opening = KeyedLock.make()

/** The canonical name of a file, however it is spelt, even if it does not exist yet. */
const canonical = (filename: string, links = 0): string => {
  if (links > 40) throw new Error("its path is a loop of symbolic links")
  const absolute = Path.resolve(filename)
  try {
    return Fs.realpathSync(absolute)
  } catch {
    const directory = Path.dirname(absolute)
    if (Fs.lstatSync(absolute, { throwIfNoEntry: false })?.isSymbolicLink()) {
      return canonical(Path.resolve(directory, Fs.readlinkSync(absolute)), links + 1)
    }
    return directory === absolute ? absolute : Path.join(canonical(directory, links), Path.basename(absolute))
  }
}

/**
 * Opens a file, or joins those in this process that already have it open. It is closed when the last of them leaves.
 */
export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<SqliteDatabase, RecorderError, Scope.Scope> {
  const { filename, synchronous = "full" } = options
  if (filename.length === 0 || filename.includes("\0") || filename.startsWith("file:")) {
    return yield* new RecorderFailure({
      operation: OPERATION,
      reason: `"${filename}" is not the path of a file: it is empty, contains NUL, or is a URI`
    })
  }
  if (synchronous !== "full" && synchronous !== "normal") {
    return yield* new RecorderFailure({
      operation: OPERATION,
      reason: `the option synchronous must be "full" or "normal", got "${synchronous}"`
    })
  }
  const lockTimeout = yield* milliseconds(OPERATION, "lockTimeout", options.lockTimeout ?? "5 seconds", {
    least: 1,
    endless: true
  })
  if (filename === ":memory:") {
    const opened = Effect.acquireRelease(connect(filename, filename, synchronous, lockTimeout), ({ close }) =>
      Effect.sync(close)
    )
    return (yield* opened).database
  }
  const key = yield* Effect.try({
    try: () => canonical(filename),
    catch: (cause) => toRecorderError(OPERATION, filename, cause)
  })
  const joined = yield* Effect.acquireRelease(
    opening.withLock(key)(
      Effect.gen(function* () {
        const other = shared.get(key)
        if (other === undefined || isLost(other)) {
          yield* refuseOtherName(filename, key)
          const opened = yield* connect(filename, key, synchronous, lockTimeout)
          // another may have opened it in the meantime
          yield* Effect.onError(refuseOtherName(filename, key), () => Effect.sync(opened.close))
          const made = { opened, synchronous, users: 1 }
          shared.set(key, made)
          return made
        }
        if (other.synchronous !== synchronous) {
          return yield* new RecorderFailure({
            operation: OPERATION,
            reason: `"${filename}" is already open in this process with synchronous: "${other.synchronous}", not "${synchronous}"`
          })
        }
        other.users++
        return other
      })
    ),
    (own) =>
      opening.withLock(key)(
        Effect.sync(() => {
          if (--own.users > 0) return
          if (shared.get(key) === own) shared.delete(key)
          own.opened.close()
        })
      )
  )
  yield* Effect.acquireRelease(
    Effect.sync(() => joined.opened.file?.addName(Path.resolve(filename))),
    (forget) => Effect.sync(() => forget?.())
  )
  return joined.opened.database
})

const OPERATION = "open a SQLite file"

const isLost = ({ opened }: Shared): boolean => {
  try {
    opened.database.check()
    return false
  } catch {
    return true
  }
}

/** SQLite keeps a `-wal` for each name of a file: two names would be two logs that overwrite each other. */
const refuseOtherName = (filename: string, key: string): Effect.Effect<void, RecorderFailure> =>
  Effect.suspend(() => {
    const identity = OpenFile.identify(key)
    if (identity === undefined) return Effect.void
    for (const [name, other] of shared) {
      if (name === key || other.opened.file?.is(identity) !== true || isLost(other)) continue
      return Effect.fail(
        new RecorderFailure({
          operation: OPERATION,
          reason: `"${filename}" is another name (a hard link, or a mount) of "${name}", which is open in this process, and SQLite can't share a file under two names; open it as "${name}"`
        })
      )
    }
    return Effect.void
  })

/** Opens the connections of a file, and adds each to those that have to be closed. */
const openConnections = Effect.fnUntraced(function* (
  path: string,
  synchronous: "full" | "normal",
  attempt: SqliteDatabase["attempt"],
  connections: Array<DatabaseSync>
) {
  const isMemory = path === ":memory:"
  const [writer, inode] = yield* attempt(OPERATION, () => {
    const before = isMemory ? undefined : OpenFile.identify(path)
    const { DatabaseSync } = sqlite()
    const connection = new DatabaseSync(path)
    connections.push(connection)
    const after = isMemory ? undefined : OpenFile.identify(path)
    if (before !== undefined && (before.ino !== after?.ino || before.dev !== after.dev)) {
      throw new Error("another file was put in its place while it was being opened; open it again")
    }
    return [connection, after] as const
  })
  // two processes that open a new file at once both switch it to WAL: one of them has to wait
  const file = yield* attempt(OPERATION, () => {
    const mode = writer.prepare("PRAGMA journal_mode = WAL").get()?.journal_mode
    if (mode !== "wal" && mode !== "memory")
      throw new Error(`its file system does not support WAL (the journal mode stays "${mode}")`)
    writer.exec(`PRAGMA synchronous = ${synchronous}`)
    // creates the -wal and the -shm if the mode was WAL already
    writer.exec("SELECT 1 FROM sqlite_schema LIMIT 1")
    return inode === undefined ? undefined : OpenFile.watch(path, inode)
  })
  const reader = isMemory
    ? writer
    : yield* attempt(OPERATION, () => {
        // a connection that can't write can't remove a -wal that belongs to others by now, if it is closed last; see
        // `abandon`
        const { DatabaseSync } = sqlite()
        const connection = new DatabaseSync(path, { readOnly: true })
        connections.push(connection)
        return connection
      })
  // opens the same -wal
  yield* attempt(OPERATION, () => reader.exec("SELECT 1 FROM sqlite_schema LIMIT 1"))
  return { writer, reader, file }
})

const connect = Effect.fnUntraced(function* (
  filename: string,
  path: string,
  synchronous: "full" | "normal",
  lockTimeout: number
): Effect.fn.Return<Opened, RecorderError> {
  const isMemory = path === ":memory:"
  /** Why no operation is possible any more. */
  let lost: OpenFile.FileLost | undefined
  const attempt: SqliteDatabase["attempt"] = (name, f) =>
    waitingForLock(name, filename, lockTimeout, () => {
      if (lost !== undefined) throw lost
      return f()
    })
  const connections: Array<DatabaseSync> = []
  /** Closes the writing connection last, since that moves the `-wal` into the file and removes it. */
  const closeAll = () => {
    for (const connection of connections.reverse()) if (connection.isOpen) connection.close()
  }

  return yield* Effect.gen(function* () {
    const { writer, reader, file } = yield* openConnections(path, synchronous, attempt, connections)

    /**
     * Abandons a file that is no longer the one at its name. The connections are closed at once: whatever SQLite does
     * with them from now on could affect the files of others. The writing connection is closed while the other one
     * holds its lock, so it neither checkpoints into a file nor removes a `-wal` that others use.
     */
    const abandon = (found: OpenFile.FileLost) => {
      lost = found
      ignoringErrors(() => rollback(writer))
      // the -wal belongs to the file that was here before, even under its new name, and not to the next one
      if (found.isDatabase) ignoringErrors(() => writer.exec("PRAGMA wal_checkpoint(TRUNCATE)"))
      for (const connection of connections) ignoringErrors(() => connection.close())
      for (const signal of database.changeSignals) signal.notify()
    }
    const check = () => {
      if (lost !== undefined) throw lost
      try {
        file?.check()
      } catch (cause) {
        if (cause instanceof OpenFile.FileLost) abandon(cause)
        throw cause
      }
    }

    const queue = Queue.make(filename, lockTimeout)
    const { sql, transactionOf } = yield* Client.make({ db: writer, queue, attempt, check })

    const write: SqliteDatabase["write"] = (name, f) =>
      queue.withTurn(
        name,
        identity
      )(
        attempt(name, () => {
          check()
          writer.exec("BEGIN IMMEDIATE")
          try {
            const result = f(writer)
            writer.exec("COMMIT")
            check()
            return result
          } catch (cause) {
            rollback(writer)
            throw cause
          }
        })
      )
    const read: SqliteDatabase["read"] = (name, f) => {
      const reading = attempt(name, () => f(reader))
      return isMemory ? queue.withTurn(name, identity)(reading) : reading
    }
    const database: SqliteDatabase = {
      filename,
      writer,
      reader,
      queue,
      turns: Turns.make(Queue.make(filename, lockTimeout), !isMemory),
      lockTimeout,
      sql,
      transactionOf,
      changeSignals: new Set(),
      inlineProjections: "",
      check,
      attempt,
      read,
      write
    }
    writer.function("inline_projections", () => database.inlineProjections)
    const close = () => {
      ignoringErrors(check)
      if (lost === undefined) closeAll()
    }
    yield* attempt(OPERATION, check)
    return { database, file, close }
  }).pipe(Effect.onExit((exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.sync(closeAll))))
})

const ignoringErrors = (f: () => void): void => {
  try {
    f()
  } catch {
    // nothing more can be done about it
  }
}

/** Ends a failed transaction if there still is one: after some failures SQLite has already ended it. */
export const rollback = (writer: DatabaseSync): void => {
  if (writer.isOpen && writer.isTransaction) writer.exec("ROLLBACK")
}

/** The pause between two attempts at a lock, in milliseconds. Other processes hold their locks for about one commit. */
const pause = (attempt: number): number => Math.min(1 + attempt / 4, 20)

/** Runs something synchronous. While another process holds a lock that it needs, it sleeps and tries again. */
const waitingForLock = <A>(
  operation: string,
  filename: string,
  timeout: number,
  f: () => A
): Effect.Effect<A, RecorderError> => {
  const again = (since: number, attempt: number): Effect.Effect<A, RecorderError> =>
    Effect.suspend(() => {
      try {
        return Effect.succeed(f())
      } catch (cause) {
        if (!isBusy(cause)) return Effect.fail(toRecorderError(operation, filename, cause))
        return Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const began = attempt === 0 ? now : since
          if (now - began >= timeout) {
            return Effect.fail(
              new RecorderUnavailable({
                operation,
                reason: `SQLite file "${filename}": another process has held the lock for ${timeout} ms; see who has it open (a shell, a backup, another instance), or raise lockTimeout`,
                waited: now - began,
                cause
              })
            )
          }
          // interruptible even if an acquisition or a transaction is uninterruptible: nothing is held during the sleep
          const sleep = Effect.sleep(Math.min(pause(attempt), began + timeout - now))
          return Effect.andThen(Effect.interruptible(sleep), again(began, attempt + 1))
        })
      }
    })
  return again(0, 0)
}
