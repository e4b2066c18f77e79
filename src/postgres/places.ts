/** The schemas that contain views: how they are named, and to which view each of them belongs. */
import type { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import type { SqlError } from "effect/sql"
import { ProjectionHasDependents, RecorderFailure } from "../EventSourcingError.ts"
import type * as Tracking from "../Tracking.ts"
import { dependents, tablesOf } from "./sql/dependents.ts"
import { literal, quote } from "./sql/identifiers.ts"

/** The owner of a place, as it is recorded in the comment of the schema, which every role can read. */
interface Owner {
  /** The schema of its tracking. */
  readonly schema: string
  readonly projection: string
  readonly version: number
}

const MARK = "effect-eventsourcing place "

const markOf = (schema: string, { projection, version }: Tracking.Key): string =>
  MARK + JSON.stringify({ schema, projection, version } satisfies Owner)

const ownerOf = (comment: string | null | undefined): Owner | undefined => {
  if (comment?.startsWith(MARK) !== true) return undefined
  try {
    return JSON.parse(comment.slice(MARK.length))
  } catch {
    return undefined
  }
}

/** The default name of a place, used unless another view's place has it. */
export const defaultPlace = (schema: string, { projection, version }: Pick<Tracking.Key, "projection" | "version">) =>
  `${schema === "public" ? "" : `${schema}_`}${projection}_v${version}`

/**
 * The name that is used instead. No other place has it: no projection has ":" in its name, and no default place is
 * created with it, since the views of a schema with ":" in its name always get this form.
 */
const otherPlace = (schema: string, { projection, version }: Tracking.Key): string =>
  `${schema}:${projection}_v${version}`

/** The schemas and projections, other than this one, whose default place has this name too. */
const namesakes = (place: string, schema: string): ReadonlyArray<Owner> => {
  const [, base, digits] = /^(.+)_v([0-9]+)$/su.exec(place) ?? []
  if (base === undefined) return []
  const version = Number(digits)
  const found: Array<Owner> = [{ schema: "public", projection: base, version }]
  for (let at = base.indexOf("_"); at >= 0; at = base.indexOf("_", at + 1)) {
    found.push({ schema: base.slice(0, at), projection: base.slice(at + 1), version })
  }
  return found.filter((owner) => owner.schema !== schema && /^[a-z][a-z0-9_]*$/.test(owner.projection))
}

/** What exists under the name of a place. */
interface Schema {
  readonly comment: string | null
  /** Whether this role may record the owner. */
  readonly owned: boolean
  /** How many tables, views and other objects are in it. */
  readonly objects: number
}

/** The places of the views whose tracking is in a schema. */
export const make = (sql: PgClient.PgClient, schema: string) => {
  const run = (text: string) => Effect.asVoid(sql.unsafe(text).unprepared)

  const find = (place: string): Effect.Effect<Schema | undefined, SqlError.SqlError> =>
    Effect.map(
      sql.unsafe<Schema>(`SELECT obj_description(n.oid, 'pg_namespace') AS comment,
  pg_has_role(n.nspowner, 'USAGE') AS owned,
  (SELECT count(*)::integer FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid) AS objects
FROM pg_catalog.pg_namespace n WHERE n.nspname = ${literal(place)}`).unprepared,
      ([row]) => row
    )

  /**
   * Who else may own a place without a recorded owner. Earlier versions created such places, and two views could be
   * given the same one. A tracking that this role can't read counts as an owner.
   */
  const otherClaimant = Effect.fnUntraced(function* (place: string) {
    for (const owner of namesakes(place, schema)) {
      const [tracking] = yield* sql.unsafe<{ readonly readable: boolean }>(`SELECT
  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ${literal(owner.schema)} AND c.relname = 'projection_tracking'`).unprepared
      if (tracking === undefined) continue
      if (!tracking.readable) return owner
      // a version with another place records it, in a column that does not exist before the first of them
      const found = yield* sql.unsafe(`SELECT 1 FROM ${quote(owner.schema)}.projection_tracking t
WHERE projection = ${literal(owner.projection)} AND version = ${owner.version}
  AND coalesce(to_jsonb(t) ->> 'place', ${literal(place)}) = ${literal(place)} LIMIT 1`).unprepared
      if (found.length > 0) return owner
    }
    return undefined
  })

  /** Serializes the creation or claim of a place. */
  const lock = (place: string) =>
    run(`SELECT pg_advisory_xact_lock(hashtextextended(${literal(`effect-eventsourcing place ${place}`)}, 0))`)
  const mark = (key: Tracking.Key, place: string) =>
    run(`COMMENT ON SCHEMA ${quote(place)} IS ${literal(markOf(schema, key))}`)
  const create = (key: Tracking.Key, place: string) =>
    Effect.andThen(run(`CREATE SCHEMA ${quote(place)}`), mark(key, place))
  const isOurs = (key: Tracking.Key, { schema: of, projection, version }: Owner) =>
    of === schema && projection === key.projection && version === key.version
  const refuse = (operation: string, reason: string) => Effect.fail(new RecorderFailure({ operation, reason }))
  const describe = ({ schema: of, projection, version }: Owner) =>
    `version ${version} of projection "${projection}" whose tracking is in schema "${of}"`

  /** Who owns a place instead, as far as that can be determined. */
  const otherOwner = Effect.fnUntraced(function* (key: Tracking.Key, place: string, found: Schema) {
    const owner = ownerOf(found.comment)
    if (owner !== undefined) return isOurs(key, owner) ? undefined : owner
    return yield* otherClaimant(place)
  })

  return {
    makePlace: Effect.fnUntraced(function* (
      key: Tracking.Key
    ): Effect.fn.Return<string, SqlError.SqlError | RecorderFailure> {
      const operation = "create a view"
      for (const place of [...(schema.includes(":") ? [] : [defaultPlace(schema, key)]), otherPlace(schema, key)]) {
        if (Buffer.byteLength(place) > 63) {
          return yield* refuse(
            operation,
            `its schema "${place}" would have more than 63 bytes, and PostgreSQL would truncate it; shorten the name of the projection or of the log's schema`
          )
        }
        yield* lock(place)
        const found = yield* find(place)
        if (found === undefined) {
          yield* create(key, place)
          return place
        }
        const owner = yield* otherOwner(key, place, found)
        if (owner !== undefined) {
          yield* Effect.logInfo(
            `the schema "${place}" belongs to ${describe(owner)}; projection "${key.projection}" of schema "${schema}" gets another`
          )
          continue
        }
        if (found.objects > 0) {
          return yield* refuse(
            operation,
            `the schema "${place}" already exists, with tables that do not belong to the projection; rename the projection`
          )
        }
        if (found.owned) yield* mark(key, place)
        return place
      }
      return yield* refuse(operation, `its schema "${otherPlace(schema, key)}" does not belong to the projection`)
    }),

    claimPlace: Effect.fnUntraced(function* (
      key: Tracking.Key,
      place: string
    ): Effect.fn.Return<void, SqlError.SqlError | RecorderFailure> {
      const found = yield* find(place)
      if (found === undefined) return
      const owner = ownerOf(found.comment)
      if (owner !== undefined) {
        if (isOurs(key, owner)) return
        return yield* refuse(
          "open a view",
          `its schema "${place}" belongs, by its comment, to ${describe(owner)}, not to that of schema "${schema}"`
        )
      }
      if (!found.owned) return
      yield* lock(place)
      // while another view may own it too, no owner is recorded, and both continue as before
      if ((yield* otherClaimant(place)) === undefined) yield* mark(key, place)
    }),

    removePlace: Effect.fnUntraced(function* (
      key: Tracking.Key,
      place: string,
      { keep }: { readonly keep: boolean }
    ): Effect.fn.Return<void, SqlError.SqlError | RecorderFailure | ProjectionHasDependents> {
      yield* lock(place)
      const found = yield* find(place)
      if (found !== undefined) {
        const owner = yield* otherOwner(key, place, found)
        if (owner !== undefined) {
          return yield* refuse(
            keep ? "reset a view" : "remove a view",
            `its schema "${place}" belongs, or may belong, to ${describe(owner)} too, so nothing was removed; raise the version, which gets a schema of its own`
          )
        }
        const tables = yield* sql.unsafe<{ readonly name: string }>(tablesOf(place)).unprepared
        if (tables.length > 0) yield* run(`LOCK TABLE ${tables.map(({ name }) => name).join(", ")}`)
        const others = yield* sql.unsafe<{ readonly name: string }>(dependents(place)).unprepared
        if (others.length > 0) {
          const { projection, version } = key
          return yield* new ProjectionHasDependents({ projection, version, dependents: others.map(({ name }) => name) })
        }
        // everything that this still removes is in the schema
        yield* run(`DROP SCHEMA ${quote(place)} CASCADE`)
      }
      if (keep) yield* create(key, place)
    })
  }
}
