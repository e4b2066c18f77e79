/**
 * A program to be killed: appends in transactions of its own, twice in each, beside a row of its own, from several
 * fibers.
 *
 * Writes one line for each transaction that was committed. After some transactions, the next one to append writes
 * "holding" and stays open.
 */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { Recorder, StreamName } from "effect-eventsourcing"
import { layerRecorders } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import type { Acknowledged } from "../../support/acknowledgements.ts"

const [applicationName, url, schema, transactions] = process.argv.slice(2)
if (url === undefined || schema === undefined) throw new Error("holder.ts NAME URL SCHEMA TRANSACTIONS")

/** Writes a line; it has been handed to the operating system as a whole when this returns. */
const print = (line: string) => Effect.sync(() => Fs.writeSync(1, `${line}\n`))

const program = Effect.gen(function* () {
  const sql = yield* PgClient.PgClient
  const recorder = yield* Recorder.Recorder
  let appended = 0

  const transaction = Effect.suspend(() => {
    const batch = randomUUID()
    const events = (count: number) => storedEvents(count, { payload: JSON.stringify({ batch, size: 3 }) })
    const stream = StreamName.StreamName.make(`Held-${batch}`)
    const [first, second] = [events(1), events(2)]
    return sql
      .withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO ${sql(schema)}.batches VALUES (${batch})`
          yield* recorder.append({ stream, expected: "NoStream", events: first })
          yield* recorder.append({ stream, expected: 0, events: second })
          if (++appended > Number(transactions)) yield* Effect.andThen(print("holding"), Effect.never)
          // so that some are killed between their append and their commit
          yield* sql`SELECT pg_sleep(0.002)`
        })
      )
      .pipe(
        Effect.andThen(() => {
          const ids = [...first, ...second].map(({ id }) => id)
          return print(JSON.stringify([{ stream, version: 0, ids } satisfies Acknowledged]))
        })
      )
  })
  yield* Effect.forEach([0, 1, 2, 3], () => Effect.forever(transaction), { concurrency: "unbounded", discard: true })
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(
      Layer.provideMerge(
        layerRecorders({ schema, lockTimeout: "60 seconds" }),
        PgClient.layer({ url: Redacted.make(url), applicationName })
      )
    )
  )
)
