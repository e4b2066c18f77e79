import type { RecorderError } from "../EventSourcingError.ts"
import { isRecorderUnavailable, RecorderFailure, RecorderUnavailable } from "../EventSourcingError.ts"
import { messageOf } from "../internal/errors/messageOf.ts"
import { FileLost } from "./openFile.ts"

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html) about which a person can do something. */
const BUSY = 5
const LOCKED = 6

const advice: Readonly<Record<number, string>> = {
  8: "the file, or the -wal or -shm file beside it, is read-only for this process; make them and their directory writable",
  10: "the disk could not be read or written; check the disk and the file's permissions",
  11: "the file is damaged; restore it from a backup, or save what can be read with: sqlite3 FILE .recover",
  13: "the database is full; free disk space, or raise PRAGMA max_page_count",
  14: "the file can't be opened; check that its directory exists and that this process may write there",
  18: "a value is too large for the database (at most 1,000,000,000 bytes)",
  26: "the file is not a SQLite database; check the filename"
}

const resultCode = (cause: unknown): number | undefined =>
  typeof cause === "object" && cause !== null && "errcode" in cause && typeof cause.errcode === "number"
    ? cause.errcode & 0xff
    : undefined

/**
 * Why a statement of the SqlClient failed: SQLite's own error, which has the code, or the error of a wait for a lock.
 */
export const rootOf = (error: unknown): unknown => {
  let root = error
  while (typeof root === "object" && root !== null && !("errcode" in root) && !isWaited(root)) {
    if (!("cause" in root) || root.cause == null) break
    root = root.cause
  }
  return root
}

const isWaited = (error: unknown): error is RecorderUnavailable =>
  isRecorderUnavailable(error) && error.waited !== undefined

/** Whether another process (or connection) holds a lock that is needed. */
export const isBusy = (cause: unknown): boolean => {
  const code = resultCode(cause)
  return code === BUSY || code === LOCKED
}

/**
 * Failures from which a view's file recovers once somebody has acted: no memory, a failing disk, no space, no file
 * handle.
 */
const outages: ReadonlySet<number> = new Set([7, 10, 13, 14])

/**
 * {@link toRecorderError} for operations that wait until the failure is over: a full disk is an outage and does not end
 * a runner.
 */
export const toViewsError = (operation: string, filename: string, cause: unknown): RecorderError => {
  const error = toRecorderError(operation, filename, cause)
  const code = resultCode(cause)
  return error._tag === "RecorderFailure" && code !== undefined && outages.has(code)
    ? new RecorderUnavailable({ operation, reason: error.reason, cause })
    : error
}

/** Describes what happened and what to do. */
export const toRecorderError = (operation: string, filename: string, cause: unknown): RecorderError => {
  if (isWaited(cause)) {
    const { reason, waited } = cause
    return new RecorderUnavailable({
      operation,
      reason,
      cause: cause.cause,
      ...(waited === undefined ? {} : { waited })
    })
  }
  const code = resultCode(cause)
  const message = messageOf(cause)
  const what = `SQLite file "${filename}"`
  if (isBusy(cause)) {
    return new RecorderUnavailable({ operation, reason: `${what}: another process holds the lock (${message})`, cause })
  }
  if (cause instanceof FileLost) return new RecorderFailure({ operation, reason: message, cause })
  const help = code === undefined ? undefined : advice[code]
  return new RecorderFailure({
    operation,
    reason: help === undefined ? `${what}: ${message}` : `${what}: ${help} (${message})`,
    cause
  })
}
