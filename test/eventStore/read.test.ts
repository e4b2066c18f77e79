import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Schema, Stream } from "effect"
import type { EventStore, Position } from "effect-eventsourcing"
import { Aggregate, Recorder } from "effect-eventsourcing"
import { Counter, Dog } from "../support/dog.ts"
import type { Process } from "../support/memoryLog.ts"
import { counting, makeLog, open, withRecorder } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")

/** Records a stream of this many events. */
const fill = ({ store }: Process, id: Aggregate.Id<"Dog">, count: number) =>
  store.append(Dog, id, {
    expected: "NoStream",
    events: Array.from({ length: count }, (_, i) =>
      i === 0 ? Dog.Registered({ name: "Rex" }) : Dog.TrickAdded({ trick: `${i}` })
    )
  })

const numbers = (length: number) => Array.from({ length }, (_, i) => i)

/** The places that a read of a log returns, according to its documentation. */
const expected = <A extends number | bigint>(
  places: ReadonlyArray<A>,
  { after, direction, upTo }: { readonly after?: A; readonly direction?: "forward" | "backward"; readonly upTo?: A }
): ReadonlyArray<A> =>
  direction === "backward"
    ? places.filter((p) => (after === undefined || p < after) && (upTo === undefined || p >= upTo)).toReversed()
    : places.filter((p) => (after === undefined || p > after) && (upTo === undefined || p <= upTo))

const LENGTH = 12
const readOptions = (places: number) => {
  const place = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: places }))
  return Schema.Struct({
    direction: Schema.optionalKey(Schema.Literals(["forward", "backward"])),
    after: Schema.optionalKey(place),
    upTo: Schema.optionalKey(place)
  })
}

describe("EventStore.read", () => {
  it.effect("reads nothing if there is no stream", () =>
    Effect.gen(function* () {
      const { store } = yield* open(yield* makeLog)
      assert.deepStrictEqual(yield* Stream.runCollect(store.read(Dog, rex)), [])
      assert.deepStrictEqual(yield* Stream.runCollect(store.read(Dog, rex, { direction: "backward" })), [])
      assert.strictEqual(yield* store.version(Dog.stream(rex)), undefined)
      assert.strictEqual(yield* store.head, undefined)
    })
  )

  it.effect.prop(
    "reads in both directions, after a version and up to one",
    [readOptions(LENGTH + 2)],
    Effect.fnUntraced(function* ([options]) {
      const process = yield* open(yield* makeLog)
      yield* fill(process, rex, LENGTH)
      yield* fill(process, Dog.Id.make("other"), 3)
      const read = yield* Stream.runCollect(process.store.read(Dog, rex, options))
      assert.deepStrictEqual(
        read.map(({ version }) => version),
        expected(numbers(LENGTH), options)
      )
    })
  )

  it.effect.each([512, 513, 1024, 1300])("reads all of %i events, in both directions, in pages", (length) =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const process = yield* open(log)
      yield* fill(process, rex, length)
      for (const options of [{}, { direction: "backward" }, { after: 3, upTo: length - 4 }] as const) {
        const read = yield* Stream.runCollect(process.store.read(Dog, rex, options))
        assert.deepStrictEqual(
          read.map(({ version }) => version),
          expected(numbers(length), options)
        )
      }
      assert.isAtMost(calls.readStream, 12)
    })
  )

  it.effect("reads no further than requested", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const process = yield* open(log)
      yield* fill(process, rex, 3000)
      const read = yield* process.store.read(Dog, rex).pipe(Stream.take(10), Stream.runCollect)
      assert.strictEqual(read.length, 10)
      assert.strictEqual(calls.readStream, 1)
    })
  )
})

describe("EventStore.readAll", () => {
  /** Dogs, counters and cats, alternating. */
  const Cat = Aggregate.make("Cat", {
    state: Schema.Struct({}),
    creation: { Born: {} },
    events: { Purred: {} },
    reduce: { Born: () => ({}), Purred: (cat) => cat }
  })
  const mixed = Effect.fnUntraced(function* ({ store }: Process, rounds: number) {
    for (const i of numbers(rounds)) {
      const dog = [i < 3 ? Dog.Registered({ name: "Rex" }) : Dog.TrickAdded({ trick: "sit" }), Dog.Rested()]
      yield* store.append(Dog, Dog.Id.make(`${i % 3}`), { expected: "Any", events: dog })
      yield* store.append(Counter, Counter.Id.make(`${i % 2}`), {
        expected: "Any",
        events: [i < 2 ? Counter.Started() : Counter.Increased({ to: i })]
      })
      yield* store.append(Cat, Cat.Id.make("tom"), { expected: "Any", events: [i < 1 ? Cat.Born() : Cat.Purred()] })
    }
  })

  it.effect("reads the events of the given aggregates, in order, and omits others", () =>
    Effect.gen(function* () {
      const process = yield* open(yield* makeLog)
      yield* mixed(process, 4)
      const read = yield* Stream.runCollect(process.store.readAll([Dog, Counter]))
      assert.deepStrictEqual(
        read.map(({ event }) => event._tag),
        numbers(4).flatMap((i) => [i < 3 ? "Registered" : "TrickAdded", "Rested", i < 2 ? "Started" : "Increased"])
      )
      const positions = read.map(({ position }) => position)
      assert.deepStrictEqual(
        positions,
        positions.toSorted((a, b) => (a < b ? -1 : 1))
      )
      assert.strictEqual(new Set(positions).size, 12)
      assert.deepStrictEqual(
        read.slice(0, 3).map(({ aggregateId, stream }) => [stream, aggregateId]),
        [
          ["Dog-0", "0"],
          ["Dog-0", "0"],
          ["Counter-0", "0"]
        ]
      )
      assert.deepStrictEqual(yield* Stream.runCollect(process.store.readAll([])), [])
      // a name that begins with the name of another aggregate belongs to a different aggregate
      const Do = Aggregate.make("Do", {
        state: Schema.Int,
        creation: { A: {} },
        events: { B: {} },
        reduce: { A: () => 0, B: () => 1 }
      })
      assert.deepStrictEqual(yield* Stream.runCollect(process.store.readAll([Do])), [])
    })
  )

  it.effect.prop(
    "reads in both directions, after a position and up to one",
    [readOptions(23)],
    Effect.fnUntraced(function* ([{ after, direction, upTo }]) {
      const process = yield* open(yield* makeLog)
      yield* mixed(process, 6)
      const all = yield* Stream.runCollect(process.store.readAll([Dog, Counter, Cat]))
      assert.strictEqual(all.length, 24)
      // positions are never computed: a read starts from positions that were read before
      const positionOf = (i: number | undefined) => (i === undefined ? undefined : all[i]?.position)
      const options: EventStore.ReadAllOptions = Object.fromEntries(
        Object.entries({ direction, after: positionOf(after), upTo: positionOf(upTo) }).filter(
          ([, value]) => value !== undefined
        )
      )
      const read = yield* Stream.runCollect(process.store.readAll([Dog], options))
      const dogs = all.filter(({ stream }) => stream.startsWith("Dog-")).map(({ position }) => position)
      assert.deepStrictEqual(
        read.map(({ position }) => position),
        expected<Position.Position>(dogs, options)
      )
    })
  )

  it.effect("reads all of a large log, in both directions, in pages", () =>
    Effect.gen(function* () {
      const process = yield* open(yield* makeLog)
      yield* mixed(process, 1200)
      for (const direction of ["forward", "backward"] as const) {
        const read = yield* Stream.runCollect(process.store.readAll([Dog, Counter], { direction }))
        assert.strictEqual(read.length, 3600)
        const positions = read.map(({ position }) => position)
        assert.isTrue(positions.every((p, i) => i === 0 || p > (positions[i - 1] ?? p) === (direction === "forward")))
      }
    })
  )
})

describe("G8 an unreadable event is never skipped", () => {
  const Older = Aggregate.make("Dog", {
    state: Schema.Struct({}),
    creation: { Registered: {} },
    events: { Rested: {} },
    reduce: { Registered: () => ({}), Rested: (dog) => dog }
  })

  it.effect("an event of a type that is not declared is an UnknownEventType that names it, everywhere", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      const events = [Dog.Registered({ name: "Rex" }), Dog.Rested(), Dog.TrickAdded({ trick: "sit" }), Dog.Rested()]
      yield* store.append(Dog, rex, { expected: "NoStream", events })
      const [, , unknown] = yield* Stream.runCollect(store.readAll([Dog]))
      const id = Older.Id.make("rex")
      const dogs = repository.of(Older)
      const failures = yield* Effect.all([
        Effect.flip(Stream.runCollect(store.read(Older, id))),
        Effect.flip(Stream.runCollect(store.readAll([Counter, Older]))),
        Effect.flip(dogs.get(id)),
        Effect.flip(dogs.execute(id, Older.Rested())),
        Effect.flip(Stream.runCollect(dogs.history(id, { direction: "backward" })))
      ])
      for (const error of failures) {
        assert.deepInclude(error, {
          _tag: "UnknownEventType",
          stream: "Dog-rex",
          version: 2,
          type: "Dog.TrickAdded",
          aggregate: "Dog"
        })
        assert.propertyVal(error, "position", unknown?.position)
      }
      // the events before it can be read
      const before = yield* Stream.runCollect(store.read(Older, id, { upTo: 1 }))
      assert.strictEqual(before.length, 2)
    })
  )

  it.effect.each([
    ["payload that is no JSON", { payload: '{"trick":' }],
    ["payload that does not fit the schema", { payload: '{"trick":""}' }],
    ["payload of another event", { payload: '{"name":"Rex"}' }],
    ["encoding that is not known", { encoding: "bson" }],
    ["encoding with too many parts", { encoding: "json+zlib+zlib" }],
    ["empty encoding", { encoding: "" }],
    ["schema version that is not known", { schemaVersion: 0 }],
    ["metadata that is no JSON object", { metadata: "[" }],
    ["bytes that are not UTF-8", { payload: Buffer.from('{"trick":"\xff"}', "latin1") }]
  ] as const)("an event with a %s is an EventNotDecodable that names it", ([, change]) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { store } = yield* open(log)
      yield* store.append(Dog, rex, {
        expected: "NoStream",
        events: [Dog.Registered({ name: "Rex" }), Dog.TrickAdded({ trick: "sit" })]
      })
      const head = yield* Context.get(log, Recorder.Recorder).head
      const damage = <A extends { readonly version: number }>(page: ReadonlyArray<A>) =>
        page.map((event) => (event.version === 1 ? { ...event, ...change } : event))
      const damaged = yield* open(
        withRecorder(log, (recorder) => ({
          readStream: (read) => Effect.map(recorder.readStream(read), damage),
          readAll: (read) => Effect.map(recorder.readAll(read), damage)
        }))
      )
      const failures = yield* Effect.all([
        Effect.flip(Stream.runCollect(damaged.store.read(Dog, rex))),
        Effect.flip(Stream.runCollect(damaged.store.readAll([Dog])))
      ])
      for (const error of failures) {
        const place = { stream: "Dog-rex", version: 1, position: head, type: "Dog.TrickAdded" }
        assert.deepInclude(error, { _tag: "EventNotDecodable", ...place })
      }
    })
  )
})
