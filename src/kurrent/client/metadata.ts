/**
 * The metadata of a stream: the last event of a stream of its own, `$$<stream>`, which is read and appended to like any
 * other.
 */
import { Duration, Effect, Schedule } from "effect"
import type { Connection } from "../connection/connection.ts"
import { only } from "../connection/errors.ts"
import type { KurrentError, WrongExpectedRevision } from "../connection/KurrentError.ts"
import { KurrentFailure, StreamTombstoned } from "../connection/KurrentError.ts"
import { retryUnavailable } from "../connection/retryUnavailable.ts"
import { readStreamPage } from "./pages.ts"
import type { ExpectedRevision } from "./values.ts"
import * as Values from "./values.ts"
import type { Appended } from "./writes.ts"
import { append } from "./writes.ts"

/**
 * Who may do what with a stream: names of users or roles, such as `$admins`. The server's default applies to what is
 * left out.
 */
export interface Acl {
  readonly read?: ReadonlyArray<string> | undefined
  readonly write?: ReadonlyArray<string> | undefined
  readonly delete?: ReadonlyArray<string> | undefined
  readonly readMetadata?: ReadonlyArray<string> | undefined
  readonly writeMetadata?: ReadonlyArray<string> | undefined
}

/**
 * How the server keeps a stream. Truncated events are hidden at once from reads of the stream, and stay in `$all` until
 * the server is scavenged. Revisions are not reused.
 */
export interface StreamMetadata {
  /** Only this many of the last events are kept: an integer of at least 1. */
  readonly maxCount?: number | undefined
  /** Only events younger than this are kept: at least 1 second, in whole seconds. */
  readonly maxAge?: Duration.Duration | undefined
  /** Only events from this revision on are kept. A deleted stream has 2^63 - 1. */
  readonly truncateBefore?: bigint | undefined
  /** How long the server's HTTP API lets a page of the stream be cached, in whole seconds. */
  readonly cacheControl?: Duration.Duration | undefined
  readonly acl?: Acl | undefined
  /** Everything else: JSON values under keys of your own. */
  readonly custom?: Readonly<Record<string, unknown>> | undefined
}

/** The metadata of a stream, as it was read. */
export interface StreamMetadataRead {
  readonly metadata: StreamMetadata
  /** What to expect in a change; `NoStream` if the stream has no metadata yet. */
  readonly revision: bigint | "NoStream"
}

const READ = "read stream metadata"
const SET = "set stream metadata"

/** 2^63 - 1, which a number of JavaScript can only approximate. */
const NEVER = 2n ** 63n - 1n

/** `$all` has metadata too: who may read it. */
const nameProblem = (stream: string): string | undefined =>
  (stream === "$all" ? undefined : Values.streamProblem(stream)) ??
  (stream.startsWith("$$") ? `"${stream}" has no metadata, because it is the metadata of another stream` : undefined)

export const getStreamMetadata = (
  connection: Connection,
  stream: string
): Effect.Effect<StreamMetadataRead, KurrentError | StreamTombstoned> =>
  Values.check(READ, nameProblem(stream)).pipe(
    Effect.andThen(
      retryUnavailable(
        readStreamPage(connection, `$$${stream}`, {
          ...{ direction: "backward", from: "end", limit: 1, resolveLinks: false }
        })
      )
    ),
    Effect.catchTag("StreamNotFound", () => Effect.succeed([])),
    Effect.mapError(only(READ, "StreamTombstoned")),
    Effect.catchTag("StreamTombstoned", () => Effect.fail(new StreamTombstoned({ stream }))),
    Effect.flatMap(([last]): Effect.Effect<StreamMetadataRead, KurrentFailure> => {
      if (last?.event === undefined) return Effect.succeed({ metadata: {}, revision: "NoStream" })
      const { data, revision } = last.event
      return isObject(data)
        ? Effect.succeed({ metadata: fromJson(data), revision })
        : Effect.fail(
            new KurrentFailure({ operation: READ, reason: `the metadata of stream "${stream}" is not a JSON object` })
          )
    })
  )

export const setStreamMetadata = (
  connection: Connection,
  stream: string,
  metadata: StreamMetadata,
  { expected }: { readonly expected: ExpectedRevision }
): Effect.Effect<Appended, KurrentError | WrongExpectedRevision | StreamTombstoned> => {
  const problem = nameProblem(stream) ?? problemOf(metadata)
  if (problem !== undefined) return Effect.fail(new KurrentFailure({ operation: SET, reason: problem }))
  const event = { type: "$metadata", data: toJson(metadata) }
  return Effect.catchTag(append(connection, `$$${stream}`, [event], { expected }), "StreamTombstoned", () =>
    Effect.fail(new StreamTombstoned({ stream }))
  )
}

/**
 * How often a change is attempted again if others change the same metadata, which may become readable a moment after
 * the refusal.
 */
const AGAIN = Schedule.upTo(Schedule.jittered(Schedule.exponential("5 millis", 1.5)), { times: 15 })

export const updateStreamMetadata = (
  connection: Connection,
  stream: string,
  change: (metadata: StreamMetadata) => StreamMetadata
): Effect.Effect<StreamMetadata, KurrentError | WrongExpectedRevision | StreamTombstoned> =>
  Effect.gen(function* () {
    const { metadata, revision } = yield* getStreamMetadata(connection, stream)
    const changed = change(metadata)
    yield* setStreamMetadata(connection, stream, changed, { expected: revision })
    return changed
  }).pipe(Effect.retry({ schedule: AGAIN, while: ({ _tag }) => _tag === "WrongExpectedRevision" }))

const ROLES = { read: "$r", write: "$w", delete: "$d", readMetadata: "$mr", writeMetadata: "$mw" } as const

type Json = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

const fromJson = (json: Json): StreamMetadata => {
  const custom: Record<string, unknown> = {}
  const found: { -readonly [K in keyof StreamMetadata]: StreamMetadata[K] } = {}
  for (const [key, value] of Object.entries(json)) {
    if (key === "$maxCount" && isCount(value)) found.maxCount = value
    else if (key === "$maxAge" && isCount(value)) found.maxAge = Duration.seconds(value)
    else if (key === "$cacheControl" && isCount(value)) found.cacheControl = Duration.seconds(value)
    else if (key === "$tb" && typeof value === "number" && Number.isInteger(value) && value >= 0) {
      found.truncateBefore = value >= 2 ** 63 ? NEVER : BigInt(value)
    } else if (key === "$acl" && isObject(value)) found.acl = fromJsonAcl(value)
    else custom[key] = value
  }
  if (Object.keys(custom).length > 0) found.custom = custom
  return found
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value)

/** The server also accepts a single role as a text. */
const fromJsonAcl = (json: Json): Acl => {
  const acl: { -readonly [K in keyof Acl]: Acl[K] } = {}
  for (const [name, key] of Object.entries(ROLES) as ReadonlyArray<[keyof Acl, string]>) {
    const roles = json[key]
    if (typeof roles === "string") acl[name] = [roles]
    else if (Array.isArray(roles)) acl[name] = roles.map(String)
  }
  return acl
}

const problemOf = ({ maxCount, maxAge, truncateBefore, cacheControl, custom }: StreamMetadata): string | undefined => {
  const seconds = (name: string, duration: Duration.Duration | undefined) =>
    duration === undefined || Number.isSafeInteger(Duration.toSeconds(duration))
      ? Values.countProblem(`the seconds of ${name}`, duration && Duration.toSeconds(duration), 1, LONGEST)
      : `${name} must be a whole number of seconds`
  const own = Object.keys(custom ?? {}).find((key) => OWN_KEYS.has(key))
  return (
    Values.countProblem("maxCount", maxCount, 1, Number.MAX_SAFE_INTEGER) ??
    seconds("maxAge", maxAge) ??
    seconds("cacheControl", cacheControl) ??
    (truncateBefore === undefined ? undefined : Values.placeProblem("truncateBefore", truncateBefore)) ??
    (own === undefined ? undefined : `"${own}" is one of the server's own keys; use the property for it`)
  )
}

/** The longest duration that the server can add to a time. */
const LONGEST = 922_337_203_685

const OWN_KEYS = new Set(["$maxCount", "$maxAge", "$tb", "$cacheControl", "$acl"])

/** The metadata in the form in which it is recorded. */
export const toJson = ({ maxCount, maxAge, truncateBefore, cacheControl, acl, custom }: StreamMetadata): Json => ({
  ...custom,
  ...(maxCount === undefined ? {} : { $maxCount: maxCount }),
  ...(maxAge === undefined ? {} : { $maxAge: Duration.toSeconds(maxAge) }),
  ...(truncateBefore === undefined ? {} : { $tb: Values.rawJson(`${truncateBefore}`) }),
  ...(cacheControl === undefined ? {} : { $cacheControl: Duration.toSeconds(cacheControl) }),
  ...(acl === undefined ? {} : { $acl: toJsonAcl(acl) })
})

const toJsonAcl = (acl: Acl): Json =>
  Object.fromEntries(
    Object.entries(ROLES).flatMap(([name, key]) => {
      const roles = acl[name as keyof Acl]
      return roles === undefined ? [] : [[key, roles]]
    })
  )
