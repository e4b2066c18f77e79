/** An aggregate whose events carry text of any length: payloads show what they are made of. */
import { Context, Effect, Schema, Stream } from "effect"
import { Aggregate, Evolution, Recorder } from "effect-eventsourcing"
import type { Log, Process } from "./memoryLog.ts"

export const Note = Aggregate.make("Note", {
  // the second version, so that snapshots are not of the first
  state: Evolution.version(1, Schema.Struct({ text: Schema.String })).version(2, Schema.String, ({ text }) => text),
  creation: { Written: { text: Schema.String } },
  events: { Rewritten: { text: Schema.String }, Signed: { name: Schema.String } },
  reduce: { Written: ({ text }) => text, Rewritten: (_old, { text }) => text, Signed: (text) => text }
})

/** The note that tests write on. */
export const id = Note.Id.make("1")
export const stream = Note.stream(id)

/** Adds a text to the note. */
export const write = ({ store }: Process, text: string) =>
  Effect.gen(function* () {
    const exists = (yield* store.version(stream)) !== undefined
    const events = [exists ? Note.Rewritten({ text }) : Note.Written({ text })]
    return yield* store.append(Note, id, { expected: "Any", events })
  })

/** The texts that were written on the note. */
export const texts = ({ store }: Process) =>
  Effect.map(Stream.runCollect(store.read(Note, id)), (events) =>
    events.map(({ event }) => (event._tag === "Signed" ? event.name : event.text))
  )

/** The events of the note as they are stored. */
export const stored = (log: Log) => Context.get(log, Recorder.Recorder).readStream({ stream, limit: 1000 })
