/** A program that opens a log, and reports its id. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { Recorder } from "effect-eventsourcing"
import { layerRecorders } from "effect-eventsourcing/postgres"

const [url, schema] = process.argv.slice(2)
if (url === undefined) throw new Error("opener.ts URL SCHEMA")

await Effect.runPromise(
  Recorder.Recorder.useSync(({ logId }) => console.log(logId)).pipe(
    Effect.provide(Layer.provide(layerRecorders({ schema }), PgClient.layer({ url: Redacted.make(url) })))
  )
)
