/** The names of the schemas that contain views, and to which view each of them belongs. */
import type { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import type { SqlError } from "effect/sql"
import type * as Tracking from "../Tracking.ts"
import { literal, quote } from "./sql/identifiers.ts"

/** The owner of a place, as it is recorded in the comment of the schema, which every role can read. */
export interface Owner {
  /** The schema of its tracking. */
  readonly schema: string
  readonly projection: string
  readonly version: number
}

const MARK = "effect-eventsourcing place "

/** The comment of a place that has a recorded owner. */
export const toComment = ({ schema, projection, version }: Owner): string =>
  MARK + JSON.stringify({ schema, projection, version } satisfies Owner)

/** The owner that a comment records, if it does. */
export const fromComment = (comment: string | null): Owner | undefined => {
  if (comment?.startsWith(MARK) !== true) return undefined
  try {
    return JSON.parse(comment.slice(MARK.length))
  } catch {
    return undefined
  }
}

/** How messages call an owner. */
export const describe = ({ schema, projection, version }: Owner): string =>
  `version ${version} of projection "${projection}" whose tracking is in schema "${schema}"`

export const isSame = (one: Owner, other: Owner): boolean =>
  one.schema === other.schema && one.projection === other.projection && one.version === other.version

/** The default name of a place, used unless another view's place has it. */
export const defaultPlace = (schema: string, { projection, version }: Pick<Tracking.Key, "projection" | "version">) =>
  `${schema === "public" ? "" : `${schema}_`}${projection}_v${version}`

/**
 * The name that is used instead. No other place has it: no projection has ":" in its name, and no default place is
 * created with it, since the views of a schema with ":" in its name always get this form.
 */
export const otherPlace = (schema: string, { projection, version }: Tracking.Key): string =>
  `${schema}:${projection}_v${version}`

/** The schemas and projections, other than this one, whose default place has this name too. */
const namesakes = (place: string, schema: string): ReadonlyArray<Owner> => {
  const [, base, digits] = /^(.+)_v([0-9]+)$/su.exec(place) ?? []
  if (base === undefined) return []
  const version = Number(digits)
  const candidates: Array<Owner> = [{ schema: "public", projection: base, version }]
  for (let at = base.indexOf("_"); at >= 0; at = base.indexOf("_", at + 1)) {
    candidates.push({ schema: base.slice(0, at), projection: base.slice(at + 1), version })
  }
  return candidates.filter((owner) => owner.schema !== schema && /^[a-z][a-z0-9_]*$/.test(owner.projection))
}

/**
 * Which view of another tracking than that in `schema` may own a place without a recorded owner. Earlier versions
 * created such places, and two views could be given the same one. A tracking that this role can't read counts as an
 * owner.
 */
export const findClaimant = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  schema: string,
  place: string
): Effect.fn.Return<Owner | undefined, SqlError.SqlError> {
  for (const owner of namesakes(place, schema)) {
    const [tracking] = yield* sql.unsafe<{ readonly readable: boolean }>(`SELECT
  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ${literal(owner.schema)} AND c.relname = 'projection_tracking'`).unprepared
    if (tracking === undefined) continue
    if (!tracking.readable) return owner
    // a version with another place records it, in a column that does not exist before the first of them
    const versions = yield* sql.unsafe(`SELECT 1 FROM ${quote(owner.schema)}.projection_tracking t
WHERE projection = ${literal(owner.projection)} AND version = ${owner.version}
  AND coalesce(to_jsonb(t) ->> 'place', ${literal(place)}) = ${literal(place)} LIMIT 1`).unprepared
    if (versions.length > 0) return owner
  }
  return undefined
})
