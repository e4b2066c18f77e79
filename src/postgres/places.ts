/** The schemas that contain views: each view gets one that no other view has. */
import type { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import type { SqlError } from "effect/sql"
import { ProjectionHasDependents, RecorderFailure } from "../EventSourcingError.ts"
import type { Dialect } from "../internal/sql/dialect.ts"
import type * as Tracking from "../Tracking.ts"
import type { Owner } from "./placeOwners.ts"
import { defaultPlace, describe, findClaimant, fromComment, isSame, otherPlace, toComment } from "./placeOwners.ts"
import { dependents, tablesOf } from "./sql/dependents.ts"
import { literal, quote } from "./sql/identifiers.ts"

/** The places of the views whose tracking is in a schema. */
interface Places {
  readonly sql: PgClient.PgClient
  readonly schema: string
}

export const make = (
  sql: PgClient.PgClient,
  schema: string
): Pick<Dialect, "makePlace" | "claimPlace" | "removePlace"> => {
  const places = { sql, schema }
  return {
    makePlace: (key) => makePlace(places, key),
    claimPlace: (key, place) => claimPlace(places, key, place),
    removePlace: (key, place, { keep }) => removePlace(places, key, place, keep)
  }
}

const makePlace = Effect.fnUntraced(function* (
  places: Places,
  key: Tracking.Key
): Effect.fn.Return<string, SqlError.SqlError | RecorderFailure> {
  const { schema } = places
  const operation = "create a view"
  for (const place of [...(schema.includes(":") ? [] : [defaultPlace(schema, key)]), otherPlace(schema, key)]) {
    if (Buffer.byteLength(place) > 63) {
      return yield* refuse(
        operation,
        `its schema "${place}" would have more than 63 bytes, and PostgreSQL would truncate it; shorten the name of the projection or of the log's schema`
      )
    }
    yield* lock(places, place)
    const existing = yield* find(places, place)
    if (existing === undefined) {
      yield* create(places, key, place)
      return place
    }
    const owner = yield* findOtherOwner(places, key, place, existing)
    if (owner !== undefined) {
      yield* Effect.logInfo(
        `the schema "${place}" belongs to ${describe(owner)}; projection "${key.projection}" of schema "${schema}" gets another`
      )
      continue
    }
    if (existing.objects > 0) {
      return yield* refuse(
        operation,
        `the schema "${place}" already exists, with tables that do not belong to the projection; rename the projection`
      )
    }
    if (existing.owned) yield* recordOwner(places, key, place)
    return place
  }
  return yield* refuse(operation, `its schema "${otherPlace(schema, key)}" does not belong to the projection`)
})

const claimPlace = Effect.fnUntraced(function* (
  places: Places,
  key: Tracking.Key,
  place: string
): Effect.fn.Return<void, SqlError.SqlError | RecorderFailure> {
  const { schema, sql } = places
  const existing = yield* find(places, place)
  if (existing === undefined) return
  const owner = fromComment(existing.comment)
  if (owner !== undefined) {
    if (isSame(owner, { schema, ...key })) return
    return yield* refuse(
      "open a view",
      `its schema "${place}" belongs, by its comment, to ${describe(owner)}, not to that of schema "${schema}"`
    )
  }
  if (!existing.owned) return
  yield* lock(places, place)
  // while another view may own it too, no owner is recorded, and both continue as before
  if ((yield* findClaimant(sql, schema, place)) === undefined) yield* recordOwner(places, key, place)
})

const removePlace = Effect.fnUntraced(function* (
  places: Places,
  key: Tracking.Key,
  place: string,
  keep: boolean
): Effect.fn.Return<void, SqlError.SqlError | RecorderFailure | ProjectionHasDependents> {
  yield* lock(places, place)
  const existing = yield* find(places, place)
  if (existing !== undefined) {
    const owner = yield* findOtherOwner(places, key, place, existing)
    if (owner !== undefined) {
      return yield* refuse(
        keep ? "reset a view" : "remove a view",
        `its schema "${place}" belongs, or may belong, to ${describe(owner)} too, so nothing was removed; raise the version, which gets a schema of its own`
      )
    }
    yield* drop(places, key, place)
  }
  if (keep) yield* create(places, key, place)
})

/** Drops a place, unless something outside of it depends on what is in it. */
const drop = Effect.fnUntraced(function* (
  places: Places,
  { projection, version }: Tracking.Key,
  place: string
): Effect.fn.Return<void, SqlError.SqlError | ProjectionHasDependents> {
  const { sql } = places
  const tables = yield* sql.unsafe<{ readonly name: string }>(tablesOf(place)).unprepared
  if (tables.length > 0) yield* run(places, `LOCK TABLE ${tables.map(({ name }) => name).join(", ")}`)
  const others = yield* sql.unsafe<{ readonly name: string }>(dependents(place)).unprepared
  if (others.length > 0) {
    return yield* new ProjectionHasDependents({ projection, version, dependents: others.map(({ name }) => name) })
  }
  // everything that this still removes is in the schema
  yield* run(places, `DROP SCHEMA ${quote(place)} CASCADE`)
})

/** What exists under the name of a place. */
interface Existing {
  readonly comment: string | null
  /** Whether this role may record the owner. */
  readonly owned: boolean
  /** How many tables, views and other objects are in it. */
  readonly objects: number
}

const find = ({ sql }: Places, place: string): Effect.Effect<Existing | undefined, SqlError.SqlError> =>
  Effect.map(
    sql.unsafe<Existing>(`SELECT obj_description(n.oid, 'pg_namespace') AS comment,
  pg_has_role(n.nspowner, 'USAGE') AS owned,
  (SELECT count(*)::integer FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid) AS objects
FROM pg_catalog.pg_namespace n WHERE n.nspname = ${literal(place)}`).unprepared,
    ([row]) => row
  )

/** Who owns a place instead, as far as that can be determined. */
const findOtherOwner = (
  { sql, schema }: Places,
  key: Tracking.Key,
  place: string,
  { comment }: Existing
): Effect.Effect<Owner | undefined, SqlError.SqlError> => {
  const owner = fromComment(comment)
  if (owner === undefined) return findClaimant(sql, schema, place)
  return Effect.succeed(isSame(owner, { schema, ...key }) ? undefined : owner)
}

const run = ({ sql }: Places, text: string) => Effect.asVoid(sql.unsafe(text).unprepared)

/** Serializes the creation or claim of a place. */
const lock = (places: Places, place: string) =>
  run(places, `SELECT pg_advisory_xact_lock(hashtextextended(${literal(`effect-eventsourcing place ${place}`)}, 0))`)

const create = (places: Places, key: Tracking.Key, place: string) =>
  Effect.andThen(run(places, `CREATE SCHEMA ${quote(place)}`), recordOwner(places, key, place))

const recordOwner = (places: Places, key: Tracking.Key, place: string) =>
  run(places, `COMMENT ON SCHEMA ${quote(place)} IS ${literal(toComment({ schema: places.schema, ...key }))}`)

const refuse = (operation: string, reason: string) => Effect.fail(new RecorderFailure({ operation, reason }))
