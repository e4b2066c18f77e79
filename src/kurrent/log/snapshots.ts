/** Snapshots: those of a stream are in a side stream, which keeps only the newest. */
import { randomUUID } from "node:crypto"
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure } from "../../EventSourcingError.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import { fromStorage } from "../../Position.ts"
import type { StoredSnapshot } from "../../SnapshotRecorder.ts"
import { SnapshotRecorder } from "../../SnapshotRecorder.ts"
import type { StreamName } from "../../StreamName.ts"
import type { RecordedEvent } from "../client/events.ts"
import { toClientEvent } from "../client/events.ts"
import type { Connection } from "../connection/connection.ts"
import { retryUnavailable } from "../connection/retryUnavailable.ts"
import { fromEvent, toEvent, unstorable } from "./codec.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"
import { toRecorderError } from "./recorderErrors.ts"

const TYPE = "snapshot"
const SAVE = "save a snapshot"

/** The fields of a snapshot for which an event has no field of its own. */
interface Places {
  readonly version: string
  readonly createdAt: string
}

/** The snapshots of a log. */
export const snapshots = (connection: Connection, names: Names, log: Log): SnapshotRecorder["Service"] => {
  const newest = (stream: StreamName): Effect.Effect<RecordedEvent | undefined, RecorderError> =>
    Effect.map(
      log.readServerStream(names.snapshots(stream), { direction: "backward", from: "end", limit: 1 }),
      ([resolved]) => resolved?.event
    )

  const save = (snapshot: StoredSnapshot): Effect.Effect<void, RecorderError> =>
    Effect.gen(function* () {
      const { stream, version, schemaVersion, encoding, payload, createdAt, modifiedAt } = snapshot
      const places: Places = { version: `${version}`, createdAt: `${createdAt}` }
      const event = {
        ...{ id: randomUUID(), type: TYPE, schemaVersion, encoding, payload },
        ...{ metadata: JSON.stringify(places), recordedAt: modifiedAt }
      }
      const reason = unstorable(event)
      if (reason !== undefined) return yield* Effect.fail(new RecorderFailure({ operation: SAVE, reason }))
      const side = names.snapshots(stream)
      const last = yield* newest(stream)
      if (last !== undefined && (yield* toSnapshot(stream, last)).version > version) return
      // set the rule that only the newest is kept first: an interruption here leaves no snapshot and does no harm
      if (last === undefined) {
        yield* Effect.mapError(
          retryUnavailable(connection.write(SAVE, side, (client) => client.setStreamMetadata(side, { maxCount: 1 }))),
          (error) => toRecorderError(SAVE, error)
        )
      }
      const append = connection.write(SAVE, side, (client) =>
        client.appendToStream(side, [toClientEvent(toEvent(event, true))], {
          streamState: last === undefined ? "no_stream" : last.revision,
          deadline: connection.deadline
        })
      )
      yield* Effect.catch(retryUnavailable(append), (error) =>
        // another one was saved in the meantime: one of the two is newer
        error._tag === "WrongExpectedRevision" ? save(snapshot) : Effect.fail(toRecorderError(SAVE, error))
      )
    })

  return SnapshotRecorder.of({
    save,
    load: (stream) =>
      Effect.flatMap(newest(stream), (event) =>
        event === undefined ? Effect.succeed(undefined) : toSnapshot(stream, event)
      )
  })
}

const toSnapshot = (stream: StreamName, event: RecordedEvent): Effect.Effect<StoredSnapshot, RecorderFailure> =>
  Effect.try({
    try: () => {
      const { schemaVersion, encoding, payload, metadata, recordedAt } = fromEvent(event, {
        stream,
        version: 0,
        position: fromStorage(0n)
      })
      const { version, createdAt } = JSON.parse(metadata) as Partial<Places>
      if (version === undefined || createdAt === undefined) throw new Error("its metadata has no version")
      return {
        ...{ stream, version: Number(version), schemaVersion, encoding, payload },
        ...{ createdAt: Number(createdAt), modifiedAt: recordedAt }
      }
    },
    catch: (cause) => {
      const reason = `the snapshot of stream "${stream}" can't be read: ${messageOf(cause)}`
      return new RecorderFailure({ operation: "load a snapshot", reason, cause })
    }
  })
