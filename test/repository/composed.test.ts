/** A decision that consists of two: what the second sees, how it fails, and that it is one append. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type { EventSourcingError as Errors } from "effect-eventsourcing"
import { Aggregate, Decision, Repository } from "effect-eventsourcing"
import { given, givenAll, stream } from "effect-eventsourcing/testing"
import type { DogState, TrickAlreadyKnown } from "../support/dog.ts"
import { addTrick, Counter, Dog } from "../support/dog.ts"
import { counting, makeLog, open } from "../support/memoryLog.ts"
import { ada, bob, Overdraft, Purse, purses } from "../support/purse.ts"

const register = (name: string) => Dog.create(() => Dog.Registered({ name }))
const fido = Dog.id("Fido")

const take = (coins: number) =>
  Purse.decide((purse) =>
    purse < coins
      ? Effect.fail(new Overdraft({ short: coins - purse }))
      : { events: Purse.Taken({ coins }), value: purse - coins }
  )
const put = (coins: number) => Purse.decide(() => Purse.Put({ coins }))

describe("two decisions", () => {
  it.effect("are one append, and the second sees the state after the events of the first", () =>
    Effect.gen(function* () {
      const counted = counting(yield* makeLog)
      const { repository } = yield* open(counted.log)
      const dogs = repository.of(Dog)
      const both = Decision.andThen(register("Fido"), addTrick("sit"))
      const done = yield* dogs.execute(fido, both)
      assert.deepStrictEqual(done.state, { name: "Fido", tricks: ["sit"] })
      assert.deepStrictEqual(
        done.events.map(({ event, version }) => [event._tag, version]),
        [
          ["Registered", 0],
          ["TrickAdded", 1]
        ]
      )
      assert.strictEqual(counted.calls.append, 1)

      // three decisions; the last sees the events of both others
      const three = Decision.andThen(Decision.andThen(addTrick("roll"), addTrick("beg")), addTrick("roll"))
      const refused = yield* Effect.flip(dogs.execute(fido, three))
      assert.strictEqual(refused._tag, "TrickAlreadyKnown")
      assert.strictEqual((yield* dogs.get(fido)).version, 1)
      const other = Decision.andThen(addTrick("roll"), Decision.andThen(addTrick("beg"), addTrick("turn")))
      assert.deepStrictEqual((yield* dogs.execute(fido, other)).state.tricks, ["sit", "roll", "beg", "turn"])
    })
  )

  it("have the failures of both in the type", () => {
    const both = Decision.andThen(register("Fido"), addTrick("sit"))
    expectTypeOf(both).toEqualTypeOf<
      Decision.Decision<
        "Dog",
        Errors.AggregateAlreadyExists | Errors.AggregateNotFound | TrickAlreadyKnown,
        undefined,
        Aggregate.Event<typeof Dog>
      >
    >()
    const onState = Decision.andThen(addTrick("sit"), addTrick("beg"))
    expectTypeOf<(typeof onState)["~types"]["state"]>().toEqualTypeOf<DogState>()
    const ofCounter = Counter.decide(() => [])
    // @ts-expect-error a decision on another aggregate
    assert.isObject(Decision.andThen(addTrick("sit"), ofCounter))
    // @ts-expect-error a function that makes a decision from something else than the first's value
    assert.isObject(Decision.andThen(put(1), take))
  })

  it.effect("each have their requirement", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const dogs = repository.of(Dog)
      const rest = Dog.decide(() => Dog.Rested())
      const ifMissing = Dog.createOrDecide((dog) => (dog === undefined ? Dog.Registered({ name: "Fido" }) : []))
      const twice = yield* Effect.flip(dogs.execute(fido, Decision.andThen(register("Fido"), register("Rex"))))
      assert.deepInclude(twice, { _tag: "AggregateAlreadyExists", id: fido, version: 0 })
      const none = Dog.createOrDecide(() => [])
      assert.deepInclude(yield* Effect.flip(dogs.execute(fido, Decision.andThen(none, rest))), {
        _tag: "AggregateNotFound",
        id: fido
      })
      assert.strictEqual(yield* dogs.exists(fido), false)
      assert.strictEqual((yield* dogs.execute(fido, Decision.andThen(none, register("Fido")))).version, 0)
      assert.strictEqual((yield* dogs.execute(fido, Decision.andThen(ifMissing, rest))).version, 1)
      assert.strictEqual(
        (yield* Effect.flip(dogs.execute(fido, Decision.andThen(register("Fido"), rest))))._tag,
        "AggregateAlreadyExists"
      )
    })
  )

  it.effect("may be Effects, and the second may be made from the value of the first", () =>
    Effect.gen(function* () {
      const { repository } = yield* purses()
      const purse = repository.of(Purse)
      const halve = Decision.andThen(take(4), (left) => {
        expectTypeOf(left).toEqualTypeOf<number>()
        return take(left / 2)
      })
      const done = yield* purse.execute(ada, halve)
      expectTypeOf(done.value).toEqualTypeOf<number>()
      assert.deepStrictEqual([done.value, done.state, done.events.length], [3, 3, 2])

      const slow = Purse.decide((coins) => Effect.as(Effect.yieldNow, { events: [], value: coins }))
      const put2 = yield* purse.execute(
        ada,
        Decision.andThen(slow, (coins) => put(coins))
      )
      assert.notProperty(put2, "value")
      assert.strictEqual(put2.state, 6)
    })
  )

  it.effect("are both taken again after a conflict", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [mine, other] = [yield* open(log), yield* open(log)]
      const id = Counter.id("one")
      yield* mine.repository.of(Counter).execute(id, Counter.Started())
      const seen: Array<number> = []
      const up = Counter.decide((count) => {
        seen.push(count)
        return Counter.Increased({ to: count + 1 })
      })
      let isFirst = true
      const interfering = Counter.decide((count) =>
        Effect.gen(function* () {
          if (isFirst) yield* Effect.orDie(other.repository.of(Counter).execute(id, Counter.Increased({ to: 10 })))
          isFirst = false
          seen.push(count)
          return Counter.Increased({ to: count + 1 })
        })
      )
      const done = yield* mine.repository.of(Counter).execute(id, Decision.andThen(up, interfering))
      assert.deepStrictEqual([seen, done.state], [[0, 1, 10, 11], 12])
    })
  )

  it.effect("fold what will be read, and refuse what can't be recorded before the second is taken", () =>
    Effect.gen(function* () {
      const Note = Aggregate.make("Note", {
        state: Schema.Struct({ at: Schema.Date, text: Schema.String }),
        creation: { Written: { at: Schema.Date, text: Schema.NonEmptyString } },
        events: { Changed: { text: Schema.NonEmptyString } },
        reduce: {
          Written: ({ at, text }) => ({ at, text }),
          Changed: (note, { text }) => ({ ...note, text })
        }
      })
      const { repository } = yield* open(yield* makeLog)
      const notes = repository.of(Note)
      const at = new Date(0)
      let wasTaken = false
      const write = (text: string) => Note.create(() => Note.Written({ at, text }))
      const change = Note.decide((note) => {
        wasTaken = true
        assert.notStrictEqual(note.at, at)
        note.at.setTime(5)
        return Note.Changed({ text: `${note.text}!` })
      })
      const done = yield* notes.execute(Note.id("1"), Decision.andThen(write("Hi"), change))
      assert.deepStrictEqual(done.state, { at: new Date(0), text: "Hi!" })
      wasTaken = false
      const refused = yield* Effect.flip(notes.execute(Note.id("2"), Decision.andThen(write(""), change)))
      assert.deepInclude(refused, { _tag: "EventNotEncodable", type: "Note.Written", version: 0 })
      const misplaced = Decision.andThen(
        Note.createOrDecide(() => Note.Written({ at, text: "Hi" })),
        change
      )
      assert.deepInclude(yield* Effect.flip(notes.execute(Note.id("1"), misplaced)), {
        _tag: "EventNotEncodable",
        version: 2
      })
      assert.isFalse(wasTaken)
    })
  )

  it.effect("are part of a transaction", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const participants = { from: Repository.existing(Purse, ada), to: Repository.existing(Purse, bob) }
      const run = (coins: number) =>
        repository
          .transaction(participants, () => ({ from: Decision.andThen(take(1), take(coins)), to: put(coins + 1) }))
          .pipe(Effect.provideContext(log))
      const done = yield* run(4)
      assert.deepStrictEqual([done.from.value, done.from.version, done.to.state], [5, 2, 5])
      assert.deepStrictEqual(yield* Effect.flip(run(5)), new Overdraft({ short: 1 }))
    })
  )

  it("are tested like one", () => {
    const both = Decision.andThen(take(1), take(3))
    given(Purse, Purse.Opened({ coins: 5 }))
      .when(both)
      .thenEvents(Purse.Taken({ coins: 1 }), Purse.Taken({ coins: 3 }))
    given(Purse, Purse.Opened({ coins: 5 }))
      .when(both)
      .thenValue(1)
    given(Purse, Purse.Opened({ coins: 3 }))
      .when(both)
      .thenFails("Overdraft", { short: 1 })
    given(Purse).when(both).thenFails("AggregateNotFound")
    given(Dog)
      .when(Decision.andThen(register("Fido"), register("Rex")))
      .thenFails("AggregateAlreadyExists")
    givenAll(stream(Purse, ada, Purse.Opened({ coins: 5 })))
      .when(Effect.flatMap(Repository.of(Purse), (purse) => purse.execute(ada, both)))
      .thenEvents(stream(Purse, ada, Purse.Taken({ coins: 1 }), Purse.Taken({ coins: 3 })))
    assert.throws(
      () =>
        given(Purse, Purse.Opened({ coins: 5 }))
          .when(Decision.andThen(put(-1), put(1)))
          .thenNothing(),
      /can't be recorded/
    )
  })

  it("are taken without a repository", () => {
    const both = Decision.andThen(register("Fido"), addTrick("sit"))
    const taken = Effect.runSync(Effect.result(Decision.take(both, undefined)))
    assert.deepStrictEqual(taken._tag === "Success" ? taken.success : [], [
      Dog.Registered({ name: "Fido" }),
      Dog.TrickAdded({ trick: "sit" })
    ])
  })
})
