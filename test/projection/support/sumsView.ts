/** A view in which lost, duplicated or reordered events show: sums of the amounts of each stream. */
import { Effect, Schema, Stream } from "effect"
import type { Position, View } from "effect-eventsourcing"
import { Aggregate, EventStore, Projection } from "effect-eventsourcing"
import type { Database } from "./databases.ts"
import { ownTable } from "./databases.ts"

export const Ledger = Aggregate.make("Ledger", {
  state: Schema.Int,
  creation: { Opened: { amount: Schema.Int } },
  events: { Booked: { amount: Schema.Int }, Noted: {} },
  reduce: {
    Opened: ({ amount }) => amount,
    Booked: (sum, { amount }) => sum + amount,
    Noted: (sum) => sum
  }
})

/** What is known of a stream. */
export interface Sum {
  readonly events: number
  readonly sum: number
  /** Differs if the same amounts arrive in a different order. */
  readonly checksum: number
}

const MODULUS = 1_000_003

const add = ({ events, sum, checksum }: Sum, amount: number): Sum => ({
  events: events + 1,
  sum: sum + amount,
  checksum: (checksum * 31 + amount) % MODULUS
})

/** The projection; `handled` runs within the transaction of each event, after the event's change of the view. */
export const sums = (handled: (position: Position.Position) => Effect.Effect<void> = () => Effect.void) => {
  const book = (
    { event, position, stream }: { event: { amount: number }; position: Position.Position; stream: string },
    { sql, table }: View.SqlView
  ) => {
    const totals = table("sums")
    return Effect.andThen(
      sql`INSERT INTO ${totals} (stream, events, sum, checksum) VALUES (${stream}, 1, ${event.amount}, ${event.amount})
        ON CONFLICT (stream) DO UPDATE SET
          events = ${totals}.events + 1,
          sum = ${totals}.sum + excluded.sum,
          checksum = (${totals}.checksum * 31 + excluded.sum) % ${MODULUS}`,
      handled(position)
    )
  }
  return Projection.make("sums", {
    aggregates: [Ledger],
    view: Projection.sql(
      ({ sql, table }) =>
        sql`CREATE TABLE ${table("sums")} (
          stream text PRIMARY KEY, events integer NOT NULL, sum integer NOT NULL, checksum integer NOT NULL)`
    ),
    handlers: { Ledger: { Opened: book, Booked: book, Noted: Projection.ignore } }
  })
}

/** Sums as they are at a position. */
export interface SumsAt {
  readonly position: bigint | undefined
  readonly sums: Readonly<Record<string, Sum>>
}

/** The sums of the view, and its tracking position: read in one statement, and so consistent. */
export const readView = (views: Database) =>
  Projection.read(sums(), ({ sql, table }) =>
    Effect.map(
      sql<{ position: string | null; stream: string | null } & Sum>`
        SELECT CAST(tracking.position AS text) AS position, stream, events, sum, checksum
        FROM ${sql(ownTable(views, "projection_tracking"))} AS tracking LEFT JOIN ${table("sums")} ON true
        WHERE tracking.projection = 'sums'`,
      (rows): SumsAt => ({
        position: rows[0]?.position == null ? undefined : BigInt(rows[0].position),
        sums: Object.fromEntries(
          rows.flatMap(({ stream, events, sum, checksum }) =>
            stream === null ? [] : [[stream, { events, sum, checksum }]]
          )
        )
      })
    )
  )

/** The sums of the log, up to one position after another. */
export const makeByLog = () => {
  const byStream = new Map<string, Sum>()
  let reached: Position.Position | undefined
  let events = 0
  return {
    /** How many events have been summed up. */
    events: () => events,
    upTo: Effect.fnUntraced(function* (position: bigint | undefined) {
      const store = yield* EventStore.EventStore
      const upTo = position as Position.Position | undefined
      if (upTo !== undefined) {
        yield* Stream.runForEach(
          store.readAll([Ledger], { ...(reached === undefined ? {} : { after: reached }), upTo }),
          ({ event, stream }) =>
            Effect.sync(() => {
              if (event._tag === "Noted") return
              byStream.set(stream, add(byStream.get(stream) ?? { events: 0, sum: 0, checksum: 0 }, event.amount))
              events++
            })
        )
        reached = upTo
      }
      const at: SumsAt = { position, sums: Object.fromEntries(byStream) }
      return at
    })
  }
}
