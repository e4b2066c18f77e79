/**
 * A program that appends to a log in every way, and then ends: to streams of its own, to shared ones, in batches, to
 * several at once, in transactions that it commits, rolls back, or holds for a moment.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import type { StreamName as Name } from "effect-eventsourcing"
import { MultiStreamAppend, Recorder, StreamName } from "effect-eventsourcing"
import { layerRecorders } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"

const [name, url, schema, rounds] = process.argv.slice(2)
if (name === undefined || url === undefined || rounds === undefined) throw new Error("writer.ts NAME URL SCHEMA ROUNDS")

const stream = (of: string): Name.StreamName => StreamName.StreamName.make(`Dog-${of}`)

const program = Effect.gen(function* () {
  const sql = yield* PgClient.PgClient
  const recorder = yield* Recorder.Recorder
  const { append: appendToMany } = yield* MultiStreamAppend.MultiStreamAppend
  let appended = 0

  const expectedOf = (of: string) =>
    Effect.map(
      recorder.readStream({ stream: stream(of), direction: "backward", limit: 1 }),
      ([last]): Recorder.ExpectedVersion => last?.version ?? "NoStream"
    )
  const append = (of: string, count: number) =>
    Effect.gen(function* () {
      yield* recorder.append({ stream: stream(of), expected: yield* expectedOf(of), events: storedEvents(count) })
      return count
    }).pipe(Effect.retry({ while: (error) => error._tag === "WrongExpectedVersion" }))
  const appendToTwo = (a: string, b: string) =>
    Effect.gen(function* () {
      const of = (one: string) =>
        Effect.map(expectedOf(one), (expected) => ({ stream: stream(one), expected, events: storedEvents(1) }))
      yield* appendToMany([yield* of(a), yield* of(b)])
      return 2
    }).pipe(Effect.retry({ while: (error) => error._tag === "WrongExpectedVersion" }))
  const counted = <E>(self: Effect.Effect<number, E>) =>
    Effect.map(self, (count) => {
      appended += count
    })

  const lane = (n: number) =>
    Effect.gen(function* () {
      for (let round = 0; round < Number(rounds); round++) {
        yield* counted(append(`${name}-${n}`, 1 + (round % 4)))
        if (round % 3 === 0) yield* counted(append(`shared-${n % 2}`, 1))
        if (round % 5 === 0) yield* counted(appendToTwo(`${name}-${n}`, `pair-${name}-${n}`))
        if (round % 20 === 0) {
          const held = Effect.tap(append(`${name}-${n}`, 2), () => sql`SELECT pg_sleep(0.002)`)
          yield* counted(sql.withTransaction(held))
          yield* Effect.exit(sql.withTransaction(Effect.andThen(held, Effect.fail("rolled back"))))
        }
      }
    })
  yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], lane, { concurrency: "unbounded", discard: true })
  console.log(appended)
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(
      Layer.provideMerge(
        layerRecorders({ schema, lockTimeout: "60 seconds" }),
        PgClient.layer({ url: Redacted.make(url) })
      )
    )
  )
)
