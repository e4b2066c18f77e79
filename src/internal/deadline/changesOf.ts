/** The changes that events cause in the index of a deadline. */
import { Effect } from "effect"
import type { AggregateNotFound, ReadError, RecorderError } from "../../EventSourcingError.ts"
import { RecorderUnavailable } from "../../EventSourcingError.ts"
import { isTransient } from "../errors/transient.ts"
import type { Changes, Row } from "./dueRow.ts"

/** When something is due on an aggregate, and the version to which this applies. */
export interface Standing {
  readonly version: number
  readonly dueAt: number | undefined
}

/** Loads when something is due on an aggregate; if a stale state is allowed, possibly without reading. */
export type Load = (id: string, isStaleAllowed: boolean) => Effect.Effect<Standing, AggregateNotFound | ReadError>

/** How many aggregates are loaded at once. */
const CONCURRENCY = 16

/**
 * The time for an aggregate that can't be loaded, or for which `due` throws. It is due immediately, so that deciding on
 * it fails and reports the reason; the index itself continues with the other aggregates.
 */
const UNKNOWN = 0

export const changesOf = (
  deadline: string,
  events: ReadonlyArray<{ readonly aggregateId: string; readonly version: number }>,
  load: Load
): Effect.Effect<Changes, RecorderError> => {
  const versions = new Map(events.map(({ aggregateId, version }) => [aggregateId, version]))
  return Effect.map(
    Effect.forEach(versions, ([id, version]) => rowOf(deadline, load, id, version), { concurrency: CONCURRENCY }),
    (found) => ({
      rows: found.filter((one): one is Row => typeof one !== "string"),
      gone: found.filter((one) => typeof one === "string")
    })
  )
}

/** The row of an aggregate, or its id if nothing is due on it. */
const rowOf = Effect.fnUntraced(function* (
  deadline: string,
  load: Load,
  id: string,
  version: number
): Effect.fn.Return<Row | string, RecorderError> {
  const standing = yield* load(id, true).pipe(
    // later events change the row again, so a cached state that includes this one is new enough
    Effect.flatMap((cached) => (cached.version < version ? load(id, false) : Effect.succeed(cached))),
    Effect.catchDefect(() => Effect.succeed({ version, dueAt: UNKNOWN })),
    Effect.catchTags({
      AggregateNotFound: () => Effect.succeed({ version, dueAt: undefined }),
      EventNotDecodable: () => Effect.succeed({ version, dueAt: UNKNOWN }),
      UnknownEventType: () => Effect.succeed({ version, dueAt: UNKNOWN }),
      EventNotDecryptable: (error) =>
        isTransient(error)
          ? Effect.fail(
              new RecorderUnavailable({
                operation: `index deadline "${deadline}"`,
                reason: error.message,
                cause: error
              })
            )
          : Effect.succeed({ version, dueAt: UNKNOWN })
    })
  )
  if (standing.version < version) {
    const reason = `event ${version} of aggregate "${id}" was followed, but can't be read yet`
    return yield* new RecorderUnavailable({ operation: `index deadline "${deadline}"`, reason })
  }
  return standing.dueAt === undefined ? id : { id, dueAt: standing.dueAt, version: standing.version }
})
