/**
 * One SQLite file in one process: a connection that writes, one that reads, and the queue that all writers pass through.
 *
 * `node:sqlite` is synchronous. A lock held by another process is therefore waited for with Effect's clock, and SQLite's
 * own `busy_timeout`, which would stop the event loop, is off. Within the process nobody ever waits for a lock: whoever
 * opens the same file shares the database, its queue included.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { Context, Scope } from "effect"
import { Clock, Duration, Effect, Semaphore } from "effect"
import type { SqlClient } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure, RecorderUnavailable } from "../EventSourcingError.ts"
import type { Growth } from "../internal/follow.ts"
import * as KeyedLock from "../internal/keyedLock.ts"
import { isBusy, toRecorderError } from "./errors.ts"
import * as Client from "./sqlClient.ts"

/** How a file is opened. */
export interface Options {
  /** The path of the file, made if it isn't there; its directory has to be. `:memory:` is a database of its own. */
  readonly filename: string
  /**
   * When a commit answers: `full` (default) once it is on the disk, so that it survives a power loss (G5); `normal` once
   * the operating system has it: it survives the process, but a power loss can take the last commits back.
   */
  readonly synchronous?: "full" | "normal"
  /**
   * How long to wait for a lock that another process holds, before `RecorderUnavailable`. Default 5 seconds. Of those who
   * share a file in a process, the first one's counts.
   */
  readonly lockTimeout?: Duration.Input
}

/** An open file. */
export interface SqliteDatabase {
  readonly filename: string
  readonly writer: DatabaseSync
  /** A connection of its own, which never sees what is not committed; for `:memory:` the writer. */
  readonly reader: DatabaseSync
  /** Held by whoever writes. */
  readonly queue: Semaphore.Semaphore
  /** The user's view of the writing connection; passes through the same queue. */
  readonly sql: SqlClient.SqlClient
  /** The transaction of {@link sql} that whoever has this context is in, or was started in. */
  readonly transactionOf: (context: Context.Context<never>) => Client.Transaction | undefined
  /** What the recorders of this process follow by, one each: all are told of what any of them commits. */
  readonly growths: Set<Growth>
  /** The inline projections that the next append has done, for triggers that ask; see internal/inline.ts. */
  inlineProjections: string
  /** Runs something synchronous; again, if another process holds a lock that it needs, asleep in between. */
  readonly attempt: <A>(operation: string, f: () => A) => Effect.Effect<A, RecorderError>
  /** Reads synchronously. */
  readonly read: <A>(operation: string, f: (reader: DatabaseSync) => A) => Effect.Effect<A, RecorderError>
  /** Runs a write transaction of its own: synchronous, and so never interrupted between its begin and its end. */
  readonly write: <A>(operation: string, f: (writer: DatabaseSync) => A) => Effect.Effect<A, RecorderError>
}

interface Shared {
  readonly database: SqliteDatabase
  readonly synchronous: string
  users: number
}

const shared = new Map<string, Shared>()
/** One at a time opens or closes a file; other files are not held up by one that has to wait. */
const opening = KeyedLock.make()

/** The file's name whatever way it is spelt, also if it isn't there yet. */
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

/** Opens a file, or joins those in this process who have it open; closed when the last of them leaves. */
export const open = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<SqliteDatabase, RecorderError, Scope.Scope> {
  const { filename, synchronous = "full" } = options
  if (filename.length === 0 || filename.includes("\0") || filename.startsWith("file:")) {
    return yield* new RecorderFailure({
      operation: "open a SQLite file",
      reason: `"${filename}" is no path of a file: it is empty, contains NUL, or is a URI`
    })
  }
  if (synchronous !== "full" && synchronous !== "normal") {
    return yield* new RecorderFailure({
      operation: "open a SQLite file",
      reason: `the option synchronous is "full" or "normal", not "${synchronous}"`
    })
  }
  if (filename === ":memory:") return yield* Effect.acquireRelease(connect(options, synchronous), close)
  const key = yield* Effect.try({
    try: () => canonical(filename),
    catch: (cause) => toRecorderError("open a SQLite file", filename, cause)
  })
  return yield* Effect.acquireRelease(
    opening.withLock(key)(
      Effect.gen(function* () {
        const other = shared.get(key)
        if (other === undefined) {
          const database = yield* connect(options, synchronous)
          shared.set(key, { database, synchronous, users: 1 })
          return database
        }
        if (other.synchronous !== synchronous) {
          return yield* new RecorderFailure({
            operation: "open a SQLite file",
            reason: `"${filename}" is open in this process with synchronous: "${other.synchronous}", not "${synchronous}"`
          })
        }
        other.users++
        return other.database
      })
    ),
    (database) =>
      opening.withLock(key)(
        Effect.suspend(() => {
          const mine = shared.get(key)
          if (mine === undefined || --mine.users > 0) return Effect.void
          shared.delete(key)
          return close(database)
        })
      )
  )
})

const close = ({ reader, writer }: SqliteDatabase): Effect.Effect<void> =>
  Effect.sync(() => {
    if (reader !== writer) reader.close()
    writer.close()
  })

const connect = Effect.fnUntraced(function* (options: Options, synchronous: "full" | "normal") {
  const { filename } = options
  const operation = "open a SQLite file"
  const timeout = yield* Effect.try({
    try: () => Duration.toMillis(Duration.fromInputUnsafe(options.lockTimeout ?? "5 seconds")),
    catch: () => {
      const reason = `the option lockTimeout is a duration, such as "5 seconds", not "${String(options.lockTimeout)}"`
      return new RecorderFailure({ operation, reason })
    }
  })
  const attempt: SqliteDatabase["attempt"] = (name, f) => waitingForLock(name, filename, timeout, f)

  const writer = yield* attempt(operation, () => new DatabaseSync(filename))
  return yield* Effect.gen(function* () {
    // two processes that open a new file at once both switch it to WAL: one of them has to wait
    yield* attempt(operation, () => {
      const mode = writer.prepare("PRAGMA journal_mode = WAL").get()?.journal_mode
      if (mode !== "wal" && mode !== "memory") throw new Error(`its file system can't do WAL (the mode stays ${mode})`)
      writer.exec(`PRAGMA synchronous = ${synchronous}`)
    })
    const reader =
      filename === ":memory:"
        ? writer
        : yield* attempt(operation, () => {
            const connection = new DatabaseSync(filename)
            connection.exec("PRAGMA query_only = ON")
            return connection
          })
    const queue = Semaphore.makeUnsafe(1)
    const { sql, transactionOf } = yield* Client.make({ db: writer, queue, attempt })

    const write: SqliteDatabase["write"] = (name, f) =>
      queue.withPermit(
        attempt(name, () => {
          writer.exec("BEGIN IMMEDIATE")
          try {
            const result = f(writer)
            writer.exec("COMMIT")
            return result
          } catch (cause) {
            rollback(writer)
            throw cause
          }
        })
      )
    const read: SqliteDatabase["read"] = (name, f) => {
      const reading = attempt(name, () => f(reader))
      return reader === writer ? queue.withPermit(reading) : reading
    }
    const database: SqliteDatabase = {
      filename,
      writer,
      reader,
      queue,
      sql,
      transactionOf,
      growths: new Set(),
      inlineProjections: "",
      attempt,
      read,
      write
    }
    writer.function("inline_projections", () => database.inlineProjections)
    return database
  }).pipe(Effect.onError(() => Effect.sync(() => writer.close())))
})

/** Ends a transaction that failed; SQLite has ended it itself after some failures. */
export const rollback = (writer: DatabaseSync): void => {
  if (writer.isTransaction) writer.exec("ROLLBACK")
}

/** The pause between two looks at a lock, in milliseconds: the locks of other processes are held for about a commit. */
const pause = (attempt: number): number => Math.min(1 + attempt / 4, 20)

/** Runs something synchronous; while another process holds a lock it needs, tries again, asleep in between. */
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
          // also where an acquisition or a transaction is made uninterruptible: nothing is held while it sleeps
          return Effect.andThen(Effect.interruptible(Effect.sleep(pause(attempt))), again(began, attempt + 1))
        })
      }
    })
  return again(0, 0)
}
