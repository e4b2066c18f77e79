/**
 * A program that follows a log up to a stream "Dog-end", and reports how many events it saw and a digest of their
 * order.
 */
import { createHash } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { Recorder } from "effect-eventsourcing"
import { layerRecorders } from "effect-eventsourcing/postgres"

const [url, schema] = process.argv.slice(2)
if (url === undefined) throw new Error("follower.ts URL SCHEMA")

const program = Effect.gen(function* () {
  const recorder = yield* Recorder.Recorder
  const digest = createHash("sha256")
  let last = -1n
  let count = 0
  console.log("following")
  yield* recorder.follow({}).pipe(
    Stream.takeUntil(({ notifications }) => notifications.some(({ stream }) => stream === "Dog-end")),
    Stream.runForEach(({ notifications }) =>
      Effect.sync(() => {
        for (const { position, id } of notifications) {
          if (position <= last) throw new Error(`position ${position} came behind ${last}`)
          last = position
          count++
          digest.update(id)
        }
      })
    )
  )
  console.log(JSON.stringify({ count, digest: digest.digest("hex") }))
})

await Effect.runPromise(
  program.pipe(Effect.provide(Layer.provide(layerRecorders({ schema }), PgClient.layer({ url: Redacted.make(url) }))))
)
