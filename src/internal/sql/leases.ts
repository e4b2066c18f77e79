/** Leases: which runner may work on a version, for a limited time. */
import { Clock, Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Tracking from "../../Tracking.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { gather } from "../concurrency/gather.ts"
import { keyText } from "../projection/trackingKey.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import { isInTransaction, query, run, runShort } from "./viewDatabase.ts"
import type { Row } from "./viewRows.ts"
import { keyTextOf, keyValues } from "./viewRows.ts"

/** A lease that another runner holds, as it was when it was last read. */
interface Watched {
  readonly holder: string
  readonly expiresAt: string
  /** Its length, in milliseconds. */
  readonly length: number
  /** Since when it has been unchanged, by the monotonic time of this process, in milliseconds. */
  readonly since: number
}

/** The leases of others that are waited for, by the text of their key. */
type Watching = Map<string, Watched>

/** A lease to take or to renew. */
interface Request {
  readonly key: Tracking.Key
  readonly holder: string
  readonly milliseconds: number
}

/** The most leases in a statement, which has a bounded number of parameters. */
const MAX_LEASES = 500

/** The time that has passed, in milliseconds: not the time of day, which can be set. */
const elapsed = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

/** Takes, renews and releases leases: those that are requested at the same time, with one statement. */
export const makeLease = (db: ViewDatabase): ViewStore<unknown, never>["lease"] => {
  const watching: Watching = new Map()
  const take = gather(
    (requests: NonEmptyReadonlyArray<Request>) =>
      runShort(db, "acquire the lease of a projection", takeAll(db, watching, requests)),
    isInTransaction(db)
  )
  return (key, holder, milliseconds) =>
    milliseconds > 0
      ? take({ key, holder, milliseconds })
      : Effect.as(query(db, "release a lease", db.statements.releaseLease, [...keyValues(key), holder]), false)
}

/** Takes or renews leases; returns for each request whether its holder has the lease. */
const takeAll = Effect.fnUntraced(function* (db: ViewDatabase, watching: Watching, requests: ReadonlyArray<Request>) {
  const results = new Map<Request, boolean>()
  let left = requests
  while (left.length > 0) {
    // a statement can't take one key for two holders
    const next = new Map<string, Request>()
    for (const request of left) {
      const text = keyText(request.key)
      if (next.size < MAX_LEASES && !next.has(text)) next.set(text, request)
    }
    const held = yield* takeSome(db, watching, [...next.values()])
    for (const [text, request] of next) results.set(request, held.has(text))
    left = left.filter((request) => !results.has(request))
  }
  return requests.map((request) => results.get(request) === true)
})

/** Takes or renews leases, one of each key; returns the keys of those that are held now. */
const takeSome = Effect.fnUntraced(function* (db: ViewDatabase, watching: Watching, requests: ReadonlyArray<Request>) {
  const now = yield* db.dialect.now
  // always in the same order: otherwise two that take the same leases could each wait for one that the other holds
  const sorted = requests.toSorted((a, b) => (keyText(a.key) < keyText(b.key) ? -1 : 1))
  const values = sorted.flatMap(({ key, holder, milliseconds }) => {
    const length = BigInt(Math.ceil(milliseconds))
    return [...keyValues(key), holder, now + length, length]
  })
  const time = yield* elapsed
  const expired = sorted.flatMap(({ key }) => {
    const watched = watching.get(keyText(key))
    return watched !== undefined && time - watched.since >= watched.length
      ? [[...keyValues(key), watched.holder, BigInt(watched.expiresAt)]]
      : []
  })
  const statement = db.statements.takeLeases(sorted.length, expired.length)
  const taken = yield* run(db, statement, [now, ...values, ...expired.flat()])
  const held = new Set(taken.map(keyTextOf))
  yield* watch(
    db,
    watching,
    sorted.map(({ key }) => key).filter((key) => !held.has(keyText(key)))
  )
  for (const text of held) watching.delete(text)
  return held
})

/**
 * Reads the leases of others. A lease that was not renewed for as long as it was taken for is free, whatever its row
 * says: the clock of its holder may have been ahead.
 */
const watch = Effect.fnUntraced(function* (db: ViewDatabase, watching: Watching, keys: ReadonlyArray<Tracking.Key>) {
  if (keys.length === 0) return
  const since = yield* elapsed
  const rows = new Map<string, Row>()
  const projections = [...new Set(keys.map((key) => key.projection))]
  for (const row of yield* run(db, db.statements.findLeases, [JSON.stringify(projections)])) {
    rows.set(keyTextOf(row.slice(4)), row)
  }
  for (const key of keys) {
    const text = keyText(key)
    const [holder, expiresAt, length, lengthOf] = rows.get(text) ?? []
    // an earlier version of the library has taken it, and its length is unknown
    if (length == null || lengthOf !== holder) {
      watching.delete(text)
      continue
    }
    const next = { holder: String(holder), expiresAt: String(expiresAt), length: Number(length), since }
    const before = watching.get(text)
    if (before?.holder !== next.holder || before.expiresAt !== next.expiresAt) watching.set(text, next)
  }
})
