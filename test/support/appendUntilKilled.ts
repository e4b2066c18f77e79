/**
 * A program to be killed: appends in every possible way, from many fibers, and writes one line for each append that was
 * acknowledged, before it continues.
 */

import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { Effect } from "effect"
import type { MultiStreamAppend } from "effect-eventsourcing"
import { EventStore, Repository } from "effect-eventsourcing"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import type { Acknowledged } from "./acknowledgements.ts"
import type { TallyId } from "./tally.ts"
import { Tally } from "./tally.ts"

/** Writes a line; it has been handed to the operating system as a whole when this returns. */
const print = (line: string): void => {
  Fs.writeSync(1, `${line}\n`)
}

const acknowledge = (streams: ReadonlyArray<Acknowledged>) => Effect.sync(() => print(JSON.stringify(streams)))

const acknowledgement = (
  events: ReadonlyArray<{ readonly id: string; readonly stream: string; readonly version: number }>
): Acknowledged => {
  const [first] = events
  if (first === undefined) throw new Error("an append without events")
  return { stream: first.stream, version: first.version, ids: events.map(({ id }) => id) }
}

/** Events for the end of a stream: preceded by the event that creates it, if it does not exist. */
const eventsFor = (count: number | undefined, length: number, payload: { batch: string; size: number }) =>
  Array.from({ length }, (_, i) => (count === undefined && i === 0 ? Tally.Begun(payload) : Tally.Counted(payload)))

const between = (low: number, high: number) => low + Math.floor(Math.random() * (high - low + 1))

/** Commands on an aggregate that several fibers and all earlier processes have appended to. */
const command = Effect.fnUntraced(function* (id: TallyId) {
  const tallies = yield* Repository.of(Tally)
  const size = between(1, 20)
  const payload = { batch: randomUUID(), size }
  const { events } = yield* tallies.execute(
    id,
    Tally.createOrDecide((count) => eventsFor(count, size, payload))
  )
  yield* acknowledge([acknowledgement(events)])
})

/** An append through the event store, to the end of the stream; again if another process was first to create it. */
const append = Effect.fnUntraced(
  function* (id: TallyId) {
    const store = yield* EventStore.EventStore
    const size = between(1, 20)
    const version = yield* store.version(Tally.stream(id))
    const events = eventsFor(version, size, { batch: randomUUID(), size })
    const recorded = yield* store.append(Tally, id, { expected: "Any", events })
    yield* acknowledge([acknowledgement(recorded?.events ?? [])])
  },
  Effect.retry({ while: (error) => error._tag === "EventNotEncodable", times: 10 })
)

/** One decision on three aggregates that others work on, too. */
const transaction = Effect.fnUntraced(function* (ids: readonly [TallyId, TallyId, TallyId]) {
  const [a, b, c] = ids
  const payload = { batch: randomUUID(), size: 6 }
  const after = yield* Repository.transaction(
    {
      a: Repository.either(Tally, a),
      b: Repository.either(Tally, b),
      c: Repository.either(Tally, c)
    },
    ({ a, b, c }) => ({
      a: eventsFor(a, 1, payload),
      b: eventsFor(b, 2, payload),
      c: eventsFor(c, 3, payload)
    })
  )
  yield* acknowledge([after.a, after.b, after.c].map((one) => acknowledgement(one?.events ?? [])))
})

/** One append to several new streams. */
const newStreams = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const length = between(1, 6)
  const payload = { batch: randomUUID(), size: 4 * length }
  const prepare = Effect.flatMap(Tally.randomId, (id) =>
    store.prepare(Tally, id, "NoStream", [
      Tally.Begun(payload),
      ...Array.from({ length: length - 1 }, () => Tally.Counted(payload))
    ])
  )
  const [first, second, third, fourth] = [yield* prepare, yield* prepare, yield* prepare, yield* prepare]
  const prepared = [first, second, third, fourth] as const
  yield* store.commitAll(prepared)
  yield* acknowledge(prepared.map(({ events }) => acknowledgement(events)))
})

const shared = (n: number) => Tally.id(`shared ${n % 5}`)

type Services = Repository.Repository | EventStore.EventStore | MultiStreamAppend.MultiStreamAppend

/** The ways to append, each in fibers of its own. */
const lanes = Array.from(
  { length: 4 },
  (_, n): ReadonlyArray<Effect.Effect<void, unknown, Services>> => [
    command(shared(n)),
    command(Tally.id(`own ${n}`)),
    append(Tally.id(`store ${n}`)),
    transaction([shared(n), shared(n + 1), shared(n + 2)]),
    newStreams
  ]
).flat()

const [rounds, backend, place, schema] = process.argv.slice(2)
if (rounds === undefined || place === undefined) {
  throw new Error(
    "appendUntilKilled.ts ROUNDS|forever sqlite FILE, or appendUntilKilled.ts ROUNDS|forever postgres URL SCHEMA"
  )
}
const layer = backend === "sqlite" ? SqliteLayer({ filename: place }) : PostgresLayer({ url: place, schema })

const program = Effect.gen(function* () {
  print("opened")
  yield* Effect.forEach(
    lanes,
    (lane) => Effect.repeat(lane, { times: rounds === "forever" ? Number.POSITIVE_INFINITY : Number(rounds) }),
    { concurrency: "unbounded", discard: true }
  )
})

print("opening")
await Effect.runPromise(Effect.provide(program, layer))
