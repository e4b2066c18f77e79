/** Decisions that ask for the id, the version and the times of their aggregate. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { DateTime, Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, Decision, Metadata, Repository } from "effect-eventsourcing"
import { given, givenAll, stream } from "effect-eventsourcing/testing"
import { makeLog, open } from "../support/memoryLog.ts"

/** Stores what its decisions get. */
const Note = Aggregate.make("Note", {
  state: Schema.Array(Schema.String),
  creation: { Begun: { text: Schema.String } },
  events: { Added: { text: Schema.String } },
  reduce: { Begun: ({ text }) => [text], Added: (note, { text }) => [...note, text] }
})

const text = (revision: Aggregate.Revision<"Note"> | Aggregate.NoRevision<"Note">): string =>
  [
    revision.id,
    revision.version,
    ...[revision.createdAt, revision.modifiedAt].map((time) => time && DateTime.toEpochMillis(time) / 1000)
  ].join(" ")

const begin = Note.create((revision) => {
  expectTypeOf(revision).toEqualTypeOf<Aggregate.NoRevision<"Note">>()
  return Note.Begun({ text: text(revision) })
})
const add = Note.decide((_note, revision) => {
  expectTypeOf(revision).toEqualTypeOf<Aggregate.Revision<"Note">>()
  return Note.Added({ text: text(revision) })
})
const beginOrAdd = Note.createOrDecide((_note, revision) => {
  expectTypeOf(revision).toEqualTypeOf<Aggregate.Revision<"Note"> | Aggregate.NoRevision<"Note">>()
  return revision.version === undefined ? Note.Begun({ text: text(revision) }) : Note.Added({ text: text(revision) })
})

const id = Note.Id.make("n")

describe("a decision gets", () => {
  it.effect("the id, the version and the times of the aggregate", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const notes = repository.of(Note)
      yield* TestClock.adjust("10 seconds")
      yield* notes.execute(id, begin)
      yield* TestClock.adjust("10 seconds")
      yield* notes.execute(id, add)
      yield* TestClock.adjust("10 seconds")
      const { state } = yield* notes.execute(id, beginOrAdd)
      assert.deepStrictEqual(state, ["n   ", "n 0 10 10", "n 1 10 20"])
      assert.deepStrictEqual((yield* notes.execute(Note.Id.make("m"), beginOrAdd)).state, ["m   "])
    })
  )

  it.effect("those of the state on which it is taken: without the cache, and again after a conflict", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [mine, other] = [yield* open(log), yield* open(log)]
      yield* mine.repository.of(Note).execute(id, Note.Begun({ text: "a" }))
      yield* TestClock.adjust("5 seconds")
      yield* other.repository.of(Note).execute(id, add)
      // the cache of this one is stale: the first attempt is refused
      const { state } = yield* mine.repository.of(Note).execute(id, add)
      assert.deepStrictEqual(state, ["a", "n 0 0 0", "n 1 0 5"])
    })
  )

  it.effect("in a composition, the version after the events of the first, and the time of their recording", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const notes = repository.of(Note)
      yield* TestClock.adjust("7 seconds")
      const done = yield* notes.execute(id, Decision.andThen(begin, Decision.andThen(add, add)))
      assert.deepStrictEqual(done.state, ["n   ", "n 0 7 7", "n 1 7 7"])
      const at = DateTime.makeUnsafe(3000)
      const later = yield* notes
        .execute(id, Decision.andThen(add, add))
        .pipe(Effect.provideService(Metadata.RecordedAt, at))
      assert.deepStrictEqual(later.state.slice(3), ["n 2 7 7", "n 3 7 3"])
      const none = Note.decide(() => [])
      assert.deepStrictEqual((yield* notes.execute(id, Decision.andThen(none, add))).state.slice(5), ["n 4 7 3"])
    })
  )

  it.effect("in a transaction, those of all participants", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { repository } = yield* open(log)
      yield* TestClock.adjust("2 seconds")
      yield* repository.of(Note).execute(id, begin)
      const done = yield* repository
        .transaction(
          { one: Repository.existing(Note, id), two: Repository.missing(Note, Note.Id.make("m")) },
          (_states, { one, two }) => {
            expectTypeOf(one).toEqualTypeOf<Aggregate.Revision<"Note">>()
            expectTypeOf(two).toEqualTypeOf<Aggregate.NoRevision<"Note">>()
            return { one: Note.Added({ text: text(one) }), two: begin }
          }
        )
        .pipe(Effect.provideContext(log))
      assert.deepStrictEqual([done.one.state[1], done.two?.state], ["n 0 2 2", ["m   "]])
    })
  )

  it("what a test gives it", () => {
    given(Note)
      .when(begin)
      .thenEvents(Note.Begun({ text: "given   " }))
    const two = given(Note, Note.Begun({ text: "a" }), Note.Added({ text: "b" }))
    two.when(add).thenEvents(Note.Added({ text: "given 1 946684800 946684801" }))
    const known = two.as({ id, createdAt: 4000 })
    known.when(add).thenEvents(Note.Added({ text: "n 1 4 5" }))
    known
      .as({ modifiedAt: 9000 })
      .when(Decision.andThen(add, add))
      .thenEvents(Note.Added({ text: "n 1 4 9" }), Note.Added({ text: "n 2 4 10" }))
    given(Note)
      .as({ id, createdAt: 4000 })
      .when(Decision.andThen(begin, add))
      .thenEvents(Note.Begun({ text: "n   " }), Note.Added({ text: "n 0 4 4" }))
    givenAll(stream(Note, id, Note.Begun({ text: "a" })).at(5000))
      .when(Effect.flatMap(Repository.of(Note), (notes) => notes.execute(id, add)))
      .thenEvents(stream(Note, id, Note.Added({ text: "n 0 5 5" })))
  })

  it("what Decision.take is given, and it says so if that is nothing", () => {
    const time = DateTime.makeUnsafe(1000)
    const taken = Decision.take(add, [], { id, version: 3, createdAt: time, modifiedAt: time })
    assert.deepStrictEqual(Effect.runSync(Effect.orDie(taken)), [Note.Added({ text: "n 3 1 1" })])
    assert.throws(() => Decision.take(add, []), /give them to Decision\.take as the third argument/)
  })
})
