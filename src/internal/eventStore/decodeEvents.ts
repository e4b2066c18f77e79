import type { Context } from "effect"
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { Provisional } from "../../Cipher.ts"
import type { ReadError } from "../../EventSourcingError.ts"
import { EventNotDecodable, UnknownEventType } from "../../EventSourcingError.ts"
import type { PositionedOf } from "../../EventStore.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Mapper } from "../../Mapper.ts"
import * as Metadata from "../../Metadata.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import { messageOf } from "../errors/messageOf.ts"
import { cachedDateTime } from "./cachedDateTime.ts"
import { aggregateFinder, decode } from "./codecs.ts"

/** Whether the holder of a context is within a transaction of the log. */
type Log = Pick<LogReader["Service"], "inTransaction">

/** Within a transaction of the caller's, keys are requested in that transaction, too. */
export const withKeysOf = <A, E>(
  log: Log,
  mapper: Mapper["Service"],
  context: Context.Context<never>,
  self: Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  mapper.keysTrustedFor !== undefined && log.inTransaction?.(context) === true
    ? Effect.provideService(self, Provisional, true)
    : self

/** Decodes what was read from a log: only the events, with all that was recorded with them, or those of some aggregates. */
export const makeDecoder = (mapper: Mapper["Service"], log: Log) => {
  const decodePage = Effect.fnUntraced(function* <A extends Aggregate.Any>(
    aggregateOf: (stream: StreamName.StreamName) => A,
    notifications: ReadonlyArray<Notification>
  ): Effect.fn.Return<ReadonlyArray<Aggregate.Event<A>>, ReadError> {
    const json = yield* Effect.contextWith((context: Context.Context<never>) =>
      withKeysOf(log, mapper, context, mapper.decode(notifications))
    )
    return yield* Effect.suspend((): Effect.Effect<ReadonlyArray<Aggregate.Event<A>>, ReadError> => {
      const events: Array<Aggregate.Event<A>> = []
      for (const notification of notifications) {
        const { type, schemaVersion, stream, version, position } = notification
        const aggregate = aggregateOf(stream)
        if (!aggregate.compiled.byType.has(type)) {
          return Effect.fail(new UnknownEventType({ stream, version, position, type, aggregate: aggregate.name }))
        }
        try {
          events.push(decode(aggregate, type, schemaVersion, json[events.length]))
        } catch (cause) {
          return Effect.fail(
            new EventNotDecodable({ stream, version, position, type, reason: messageOf(cause), cause })
          )
        }
      }
      return Effect.succeed(events)
    })
  })

  const withEnvelope = <A extends Aggregate.Any>(
    aggregateOf: (stream: StreamName.StreamName) => A,
    notifications: ReadonlyArray<Notification>
  ): Effect.Effect<ReadonlyArray<Positioned<Aggregate.NameOf<A>, Aggregate.Event<A>>>, ReadError> =>
    Effect.flatMap(decodePage(aggregateOf, notifications), (events) =>
      Effect.suspend(() => {
        const recorded: Array<Positioned<Aggregate.NameOf<A>, Aggregate.Event<A>>> = []
        for (const notification of notifications) {
          const { id, stream, version, position, type } = notification
          try {
            recorded.push({
              id,
              stream,
              aggregate: aggregateOf(stream).name,
              aggregateId: StreamName.id(stream) as Aggregate.Id<Aggregate.NameOf<A>>,
              version,
              position,
              recordedAt: cachedDateTime(notification.recordedAt),
              metadata: Metadata.fromStored(notification.metadata),
              event: events[recorded.length] as Aggregate.Event<A>
            })
          } catch (cause) {
            const reason = `its metadata is invalid: ${messageOf(cause)}`
            return Effect.fail(new EventNotDecodable({ stream, version, position, type, reason, cause }))
          }
        }
        return Effect.succeed(recorded)
      })
    )

  const decodeOf = <A extends Aggregate.Any>(aggregates: ReadonlyArray<A>) => {
    const aggregateOf = aggregateFinder(aggregates)
    return (page: ReadonlyArray<Notification>) =>
      withEnvelope(aggregateOf, page) as Effect.Effect<ReadonlyArray<PositionedOf<A>>, ReadError>
  }

  return { decodePage, withEnvelope, decodeOf }
}
