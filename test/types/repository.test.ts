/**
 * What compiles of repositories and what does not. `tsc` checks this file; at run time, it only calls what is valid.
 */
import { describe, expectTypeOf, it } from "@effect/vitest"
import type { Stream } from "effect"
import { Effect, Layer } from "effect"
import type {
  Aggregate,
  EventSourcingError as Errors,
  EventSourcing,
  EventStore,
  MultiStreamAppend,
  Position,
  RecordedEvent
} from "effect-eventsourcing"
import { Cipher, Compressor, KeyService, Mapper, Repository, Transcoder } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import type { DogEvent, DogState, TrickAlreadyKnown } from "../support/dog.ts"
import { addTrick, Counter, Dog } from "../support/dog.ts"

// never called: nothing in here runs
declare const dogs: Repository.AggregateRepository<typeof Dog>
declare const repository: Repository.Repository["Service"]
declare const store: EventStore.EventStore["Service"]
const types = (_: () => unknown) => {}

const rex = Dog.Id.make("rex")
const one = Counter.Id.make("1")

type Library =
  | Errors.WrongExpectedVersion
  | Errors.EventNotEncodable
  | Errors.EventNotDecodable
  | Errors.EventNotDecryptable
  | Errors.UnknownEventType
  | Errors.RecorderUnavailable
  | Errors.RecorderFailure

describe("the failures of execute", () => {
  type Failure<E extends Effect.Effect<unknown, unknown, unknown>> = Exclude<Effect.Error<E>, Library>

  it("are the library's, the domain's, and what the decision requires", () => {
    const run = () => dogs.execute(rex, addTrick("sit"))
    expectTypeOf<Effect.Error<ReturnType<typeof run>>>().toEqualTypeOf<
      Library | TrickAlreadyKnown | Errors.AggregateNotFound
    >()
    expectTypeOf<Effect.Services<ReturnType<typeof run>>>().toEqualTypeOf<never>()
  })

  it("of a decision on an existing aggregate: AggregateNotFound", () => {
    const run = () =>
      dogs.execute(
        rex,
        Dog.decide(() => [])
      )
    expectTypeOf<Failure<ReturnType<typeof run>>>().toEqualTypeOf<Errors.AggregateNotFound>()
  })

  it("of one that creates: AggregateAlreadyExists", () => {
    const run = () =>
      dogs.execute(
        rex,
        Dog.create(() => Dog.Registered({ name: "Rex" }))
      )
    expectTypeOf<Failure<ReturnType<typeof run>>>().toEqualTypeOf<Errors.AggregateAlreadyExists>()
  })

  it("of one on an aggregate that may exist: AggregateNotFound, if it does not create it", () => {
    const run = () =>
      dogs.execute(
        rex,
        Dog.createOrDecide(() => [])
      )
    expectTypeOf<Failure<ReturnType<typeof run>>>().toEqualTypeOf<Errors.AggregateNotFound>()
  })

  it("of events that are passed directly: by the first of them", () => {
    const changes = () => dogs.execute(rex, Dog.Rested())
    expectTypeOf<Failure<ReturnType<typeof changes>>>().toEqualTypeOf<Errors.AggregateNotFound>()
    const creates = () => dogs.execute(rex, Dog.Registered({ name: "Rex" }))
    expectTypeOf<Failure<ReturnType<typeof creates>>>().toEqualTypeOf<Errors.AggregateAlreadyExists>()
    const createsSome = () => dogs.execute(rex, [Dog.Registered({ name: "Rex" }), Dog.Rested()])
    expectTypeOf<Failure<ReturnType<typeof createsSome>>>().toEqualTypeOf<Errors.AggregateAlreadyExists>()
    const changesSome = () => dogs.execute(rex, [Dog.Rested(), Dog.TrickAdded({ trick: "sit" })])
    expectTypeOf<Failure<ReturnType<typeof changesSome>>>().toEqualTypeOf<Errors.AggregateNotFound>()
    const unknown = (event: DogEvent) => dogs.execute(rex, event)
    expectTypeOf<Failure<ReturnType<typeof unknown>>>().toEqualTypeOf<
      Errors.AggregateNotFound | Errors.AggregateAlreadyExists
    >()
  })
})

describe("results", () => {
  it("carry the types of the aggregate", () => {
    const get = () => dogs.get(rex)
    expectTypeOf<Effect.Success<ReturnType<typeof get>>["state"]>().toEqualTypeOf<DogState>()
    const execute = () => dogs.execute(rex, addTrick("sit"))
    type Executed = Effect.Success<ReturnType<typeof execute>>
    expectTypeOf<Executed["events"]>().toEqualTypeOf<ReadonlyArray<RecordedEvent.RecordedEvent<"Dog", DogEvent>>>()
    expectTypeOf<Executed["position"]>().toEqualTypeOf<Position.Position | undefined>()
    const all = () => store.readAll([Dog, Counter])
    expectTypeOf<Stream.Success<ReturnType<typeof all>>["event"]>().toEqualTypeOf<
      DogEvent | Aggregate.Event<typeof Counter>
    >()
  })
})

describe("Repository.transaction", () => {
  const participants = {
    dog: Repository.existing(Dog, rex),
    pup: Repository.missing(Dog, rex),
    counter: Repository.either(Counter, one)
  }

  it("passes the states that its participants require", () => {
    types(() =>
      Repository.transaction(participants, (states) => {
        expectTypeOf(states).toEqualTypeOf<{
          readonly dog: DogState
          readonly pup: undefined
          readonly counter: number | undefined
        }>()
        return {}
      })
    )
  })

  it("requires the capability to append to several streams, in R", () => {
    const run = () => Repository.transaction(participants, () => ({ dog: Dog.Rested() }))
    expectTypeOf<Effect.Services<ReturnType<typeof run>>>().toEqualTypeOf<
      Repository.Repository | MultiStreamAppend.MultiStreamAppend
    >()
    const bare = () => repository.transaction(participants, () => ({ dog: Dog.Rested() }))
    expectTypeOf<Effect.Services<ReturnType<typeof bare>>>().toEqualTypeOf<MultiStreamAppend.MultiStreamAppend>()
    // @ts-expect-error a backend without the capability
    types(() => Effect.runPromise(bare()))
  })

  it("knows its failures exactly", () => {
    const refusing = () =>
      repository.transaction(participants, ({ dog }) =>
        dog.name === "" ? Effect.fail("nameless" as const) : { dog: Dog.Rested() }
      )
    expectTypeOf<Effect.Error<ReturnType<typeof refusing>>>().toEqualTypeOf<
      Library | "nameless" | Errors.AggregateNotFound | Errors.AggregateAlreadyExists | Errors.DuplicateParticipant
    >()
    const free = () => repository.transaction({ counter: Repository.either(Counter, one) }, () => ({}))
    expectTypeOf<Effect.Error<ReturnType<typeof free>>>().toEqualTypeOf<Library | Errors.DuplicateParticipant>()
  })

  it("returns a participant that may be absent only if it was not required", () => {
    const run = () => repository.transaction(participants, () => ({}))
    type Done = Effect.Success<ReturnType<typeof run>>
    expectTypeOf<Done["dog"]["state"]>().toEqualTypeOf<DogState>()
    expectTypeOf<undefined>().toExtend<Done["counter"]>()
    expectTypeOf<undefined>().toExtend<Done["pup"]>()
    expectTypeOf<undefined>().not.toExtend<Done["dog"]>()
  })

  it("refuses events of others, and values that are not participants", () => {
    types(() => [
      // @ts-expect-error an event of a dog instead of a counter's
      repository.transaction(participants, () => ({ counter: Dog.Rested() })),
      // @ts-expect-error not an event
      repository.transaction(participants, () => ({ dog: { _tag: "Barked" } }))
    ])
  })
})

describe("layers", () => {
  it("have the failures of their parts", () => {
    const encrypting = (key: KeyService.Key) =>
      Mapper.layer.pipe(
        Layer.provide([Transcoder.layerJson, Compressor.layerNone, Cipher.layerKeys([{ id: "a", key }])])
      )
    const memory = (key: KeyService.Key) => MemoryLayer({ mapper: encrypting(key) })
    expectTypeOf<Layer.Error<ReturnType<typeof memory>>>().toEqualTypeOf<KeyService.KeyServiceError>()
    const plain = MemoryLayer()
    expectTypeOf<Layer.Error<typeof plain>>().toEqualTypeOf<never>()
    expectTypeOf<EventSourcing.EventSourcing>().toExtend<Layer.Success<typeof plain>>()
    types(() =>
      // @ts-expect-error at least one key
      KeyService.layer([])
    )
  })
})
