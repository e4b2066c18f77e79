import { Clock, Effect, Result } from "effect"
import type { NonEmptyArray, NonEmptyReadonlyArray } from "effect/Array"
import type * as Aggregate from "../../Aggregate.ts"
import type { EventNotEncodable } from "../../EventSourcingError.ts"
import type { Prepared } from "../../EventStore.ts"
import type { Encoded, Mapper } from "../../Mapper.ts"
import * as Metadata from "../../Metadata.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { ExpectedVersion, Recorder } from "../../Recorder.ts"
import type { StoredEvent } from "../../StoredEvent.ts"
import type * as StreamName from "../../StreamName.ts"
import { firstVersion } from "../backend/versions.ts"
import * as Uuid from "../encoding/uuid.ts"
import { cachedDateTime } from "./cachedDateTime.ts"
import { notEncodable, readBack, toPlain } from "./codecs.ts"
import { withKeysOf } from "./decodeEvents.ts"

/** Encodes events for their places in a stream, with ids, time and metadata. */
export const makePrepare =
  (mapper: Mapper["Service"], recorder: Recorder["Service"]) =>
  <A extends Aggregate.Any>(
    aggregate: A,
    aggregateId: Aggregate.Id<Aggregate.NameOf<A>>,
    stream: StreamName.StreamName,
    expected: ExpectedVersion,
    events: NonEmptyReadonlyArray<Aggregate.Event<A>>,
    ids?: ReadonlyArray<string>
  ): Effect.Effect<Prepared<Aggregate.NameOf<A>, Aggregate.Event<A>>, EventNotEncodable> =>
    Effect.withFiber((fiber) => {
      const first = firstVersion(expected)
      // whole milliseconds: a clock may be more precise
      const now = Math.floor(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      const given = fiber.getRef(Metadata.RecordedAt)
      const recordedMillis = given === undefined ? now : Math.floor(given.epochMilliseconds)
      const metadata = Metadata.current(fiber.context)
      const plain = toPlain(aggregate, stream, first, events)
      if (Result.isFailure(plain)) return Effect.fail(plain.failure)
      return Effect.flatMapEager(
        withKeysOf(recorder, mapper, fiber.context, mapper.encode(plain.success)),
        (encoded) => {
          const stored: Array<StoredEvent> = []
          const recorded: Array<RecordedEvent<Aggregate.NameOf<A>, Aggregate.Event<A>>> = []
          let version = first
          try {
            const recordedAt = cachedDateTime(recordedMillis)
            const storedMetadata = Metadata.toStored(metadata)
            for (const place of plain.success) {
              const { type, schemaVersion } = place
              const value = encoded[version - first] as Encoded
              const { encoding, payload } = value
              const id = ids?.[version - first] ?? Uuid.v7(now)
              const source = events[version - first] as Aggregate.Event<A>
              const event = readBack(aggregate, place, source, mapper.readBack(value))
              stored.push({
                ...{ id, type, schemaVersion, encoding, payload, metadata: storedMetadata, recordedAt: recordedMillis }
              })
              recorded.push({
                id,
                stream,
                aggregate: aggregate.name,
                aggregateId,
                version,
                recordedAt,
                metadata,
                event
              })
              version++
            }
          } catch (cause) {
            const type = plain.success[version - first]?.type ?? ""
            return Effect.fail(notEncodable(stream, version, type, cause))
          }
          return Effect.succeed({ stream, expected, stored: stored as NonEmptyArray<StoredEvent>, events: recorded })
        }
      )
    })
