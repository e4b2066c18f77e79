/** A view in which lost, duplicated or reordered events show: the events that took effect, in that order. */
import { Effect, Stream } from "effect"
import type { Position, View } from "effect-eventsourcing"
import { EventStore, Projection } from "effect-eventsourcing"
import { Counter, Dog } from "../../support/dog.ts"

/** An event that took effect: its stream and its version in that stream. */
export type Entry = string

type Journal = ReadonlyArray<Entry>

/** The kinds of views in which a journal is stored. */
export type JournalView = View.Sql<never> | View.Memory<Journal>

/** What a test does in a handler, after the handler has written to its view. */
export interface Handled {
  readonly entry: Entry
  readonly id: string
  readonly position: Position.Position
  readonly view: View.Of<JournalView>
}

export interface JournalOptions {
  readonly name?: string
  readonly version?: number
  /** Runs within the transaction of each event, after the event's change of the view. */
  readonly handled?: (handled: Handled) => Effect.Effect<unknown, unknown>
}

/** A journal of counters; it follows dogs, too, and ignores them. */
export type JournalProjection = Projection.Followed<JournalView, "exactly-once", never>

const entryOf = ({ stream, version }: { readonly stream: string; readonly version: number }): Entry =>
  `${stream} ${version}`

const setup = ({ sql, table }: View.SqlView) =>
  Effect.orDie(Effect.asVoid(sql`CREATE TABLE ${table("journal")} (place integer NOT NULL, entry text NOT NULL)`))

/** Creates a journal's view. */
export const setUpJournal = (view: View.Of<JournalView>): Effect.Effect<unknown> =>
  "get" in view ? view.set([]) : setup(view)

/** Writes an entry after all others. */
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

/** The entries of the current version of a journal. */
export const readJournal = (projection: JournalProjection) => Projection.read(projection, entriesOf)

/** Appends to a counter's stream in one append; returns the position of the last event. */
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

/** Appends an event of an aggregate that a journal ignores; returns its position. */
export const ignored = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const recorded = yield* store.append(Dog, yield* Dog.randomId, {
    expected: "NoStream",
    events: [Dog.Registered({ name: "Rex" })]
  })
  if (recorded === undefined) return yield* Effect.die(new Error("nothing was appended"))
  return recorded.position
})

/** The entries that a journal of the whole log has. */
export const wholeLog = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  return (yield* Stream.runCollect(store.readAll([Counter]))).map(entryOf)
})

/** The entries of a counter with these versions. */
export const entries = (name: string, ...versions: ReadonlyArray<number>): ReadonlyArray<Entry> =>
  versions.map((version) => entryOf({ stream: Counter.stream(Counter.Id.make(name)), version }))
