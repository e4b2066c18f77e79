import { PgTypes } from "@effect/sql-pg"
import { Effect } from "effect"
import { RecorderFailure } from "../EventSourcingError.ts"
import { SnapshotRecorder } from "../SnapshotRecorder.ts"
import type { StreamName } from "../StreamName.ts"
import type { PostgresDatabase } from "./PostgresDatabase.ts"
import { tooLarge, unstorable } from "./parameters.ts"
import { loadSnapshot, saveSnapshot } from "./sql/queries.ts"

/** The snapshots of a log. */
export const snapshots = ({ inTransaction, query, schema }: PostgresDatabase): SnapshotRecorder["Service"] => {
  const save = saveSnapshot(schema)
  const load = loadSnapshot(schema)
  return SnapshotRecorder.of({
    inTransaction,
    save: ({ stream, version, schemaVersion, encoding, payload, createdAt, modifiedAt }) =>
      Effect.suspend(() => {
        const isText = typeof payload === "string"
        const what = `the snapshot of "${stream}"`
        const reason =
          (isText ? unstorable(what, payload) : undefined) ??
          tooLarge(what, Buffer.byteLength(payload), "keep less in the state, or compress it")
        if (reason !== undefined) return Effect.fail(new RecorderFailure({ operation: "save a snapshot", reason }))
        return Effect.asVoid(
          query("save a snapshot", save, [
            PgTypes.text(stream),
            PgTypes.int4(version),
            PgTypes.int4(schemaVersion),
            PgTypes.text(encoding),
            PgTypes.text(isText ? payload : null),
            PgTypes.bytea(isText ? null : payload),
            PgTypes.int8(BigInt(createdAt)),
            PgTypes.int8(BigInt(modifiedAt))
          ])
        )
      }),
    load: (stream) =>
      Effect.map(query("load a snapshot", load, [PgTypes.text(stream)]), ([row]) =>
        row === undefined
          ? undefined
          : {
              stream: row[0] as StreamName,
              version: row[1] as number,
              schemaVersion: row[2] as number,
              encoding: row[3] as string,
              payload: (row[4] ?? row[5]) as string | Uint8Array,
              createdAt: Number(row[6]),
              modifiedAt: Number(row[7])
            }
      )
  })
}
