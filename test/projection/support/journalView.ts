/** A view in which an event that is lost, doubled or out of order shows: what took effect, in the order in which it did. */
import { Effect, Stream } from "effect"
import type { Position, View } from "effect-eventsourcing"
import { EventStore, Projection } from "effect-eventsourcing"
import { Counter, Dog } from "../../support/dog.ts"

/** An event that took effect: its stream and its version in that. */
export type Entry = string

type Journal = ReadonlyArray<Entry>

/** The kinds of views that a journal is kept in. */
export type JournalView = View.Sql<never> | View.Memory<Journal>

/** What a test does in a handler, when that has written to its view. */
export interface Handled {
  readonly entry: Entry
  readonly id: string
  readonly position: Position.Position
  readonly view: View.Of<JournalView>
}

export interface JournalOptions {
  readonly name?: string
  readonly version?: number
  /** Is run within the transaction of each event, behind what the event did to the view. */
  readonly handled?: (handled: Handled) => Effect.Effect<unknown, unknown>
}

/** A journal of counters; of dogs it hears, and ignores them. */
export type JournalProjection = Projection.Followed<JournalView, "exactly-once", never>

const entryOf = ({ stream, version }: { readonly stream: string; readonly version: number }): Entry =>
  `${stream} ${version}`

const setup = ({ sql, table }: View.SqlView) =>
  Effect.orDie(Effect.asVoid(sql`CREATE TABLE ${table("journal")} (place integer NOT NULL, entry text NOT NULL)`))

/** Makes a journal's view. */
export const setUpJournal = (view: View.Of<JournalView>): Effect.Effect<unknown> =>
  "get" in view ? view.set([]) : setup(view)

/** Writes an entry behind all others. */
export const write = (view: View.Of<JournalView>, entry: Entry): Effect.Effect<unknown, unknown> => {
  if ("get" in view) return view.update((journal) => [...journal, entry])
  const { sql, table } = view
  return sql`INSERT INTO ${table("journal")} (place, entry)
    SELECT count(*), ${entry} FROM ${table("journal")}`
}

/** Reads a journal as a reader or a handler gets it. */
export const entriesOf = (view: View.ReaderOf<JournalView>): Effect.Effect<Journal, unknown> =>
  "get" in view
    ? view.get
    : Effect.map(
        view.sql<{ readonly entry: Entry }>`SELECT entry FROM ${view.table("journal")} ORDER BY place`,
        (rows) => rows.map(({ entry }) => entry)
      )

/** A journal in tables, or in memory. */
export const makeJournal = (
  kind: "tables" | "memory",
  { name = "journal", version = 1, handled }: JournalOptions = {}
): JournalProjection => {
  const handle = (
    event: {
      readonly stream: string
      readonly version: number
      readonly id: string
      readonly position: Position.Position
    },
    view: View.Of<JournalView>
  ) => {
    const entry = entryOf(event)
    return Effect.andThen(
      write(view, entry),
      handled?.({ entry, view, id: event.id, position: event.position }) ?? Effect.void
    )
  }
  const definition = { version, aggregates: [Counter, Dog] as const }
  const Dogs = { Registered: Projection.ignore, TrickAdded: Projection.ignore, Rested: Projection.ignore }
  const handlers = { Counter: { Started: handle, Increased: handle }, Dog: Dogs }
  return kind === "memory"
    ? Projection.make(name, { ...definition, view: Projection.memory((): Journal => []), handlers })
    : Projection.make(name, { ...definition, view: Projection.sql(setup), handlers })
}

/** What the current version of a journal holds. */
export const readJournal = (projection: JournalProjection) => Projection.read(projection, entriesOf)

/** Appends to a counter's stream in one append; answers the position of the last event. */
export const count = Effect.fnUntraced(function* (name: string, times = 1) {
  const store = yield* EventStore.EventStore
  const id = Counter.Id.make(name)
  const version = yield* store.version(Counter.stream(id))
  const events = Array.from({ length: times }, (_, n) =>
    version === undefined && n === 0 ? Counter.Started() : Counter.Increased({ to: (version ?? 0) + n })
  )
  const recorded = yield* store.append(Counter, id, { expected: version ?? "NoStream", events })
  if (recorded === undefined) return yield* Effect.die(new Error("nothing was appended"))
  return recorded.position
})

/** Appends an event of an aggregate that a journal ignores; answers its position. */
export const ignored = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const recorded = yield* store.append(Dog, yield* Dog.randomId, {
    expected: "NoStream",
    events: [Dog.Registered({ name: "Rex" })]
  })
  if (recorded === undefined) return yield* Effect.die(new Error("nothing was appended"))
  return recorded.position
})

/** What a journal of the whole log holds. */
export const wholeLog = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  return (yield* Stream.runCollect(store.readAll([Counter]))).map(entryOf)
})

/** The entries of a counter with these versions. */
export const entries = (name: string, ...versions: ReadonlyArray<number>): ReadonlyArray<Entry> =>
  versions.map((version) => entryOf({ stream: Counter.stream(Counter.Id.make(name)), version }))
