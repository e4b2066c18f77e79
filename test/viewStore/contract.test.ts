/** What every place for views guarantees: a view and its tracking change together or not at all. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Fiber } from "effect"
import type { ViewStore } from "effect-eventsourcing"
import { Position } from "effect-eventsourcing"
import { entriesOf, setUpJournal, write } from "../projection/support/journalView.ts"
import { until } from "../projection/support/runnerStates.ts"
import type { AnyStore } from "../projection/support/viewKinds.ts"
import { kinds } from "../projection/support/viewKinds.ts"

const at = (position: number) => Position.Position.make(BigInt(position))

const key = { projection: "journal", version: 1, upstream: "log", slice: 0 } as const

const open = (store: AnyStore, version = 1) =>
  store.open({ ...key, version }, { mode: "followed", logId: "log-1", aggregates: ["Counter"], setup: setUpJournal })

/** Moves the tracking from one position to another, and records that it did. */
const move = (store: AnyStore, from: number | undefined, to: number, version = 1) =>
  store.transact({ key: { ...key, version }, from: from === undefined ? undefined : at(from), to: at(to) }, (view) =>
    write(view, `to ${to}`)
  )

const read = (store: AnyStore, version = 1) => store.read({ ...key, version }, entriesOf)

const progress = (store: AnyStore) =>
  Effect.map(store.versions(key), (versions) =>
    versions.map(({ version, position, status }) => `${version} ${status} ${position ?? "-"}`)
  )

const letter = (position: number, stream: string): ViewStore.DeadLetter => ({
  position: at(position),
  stream,
  streamVersion: position,
  eventId: `event-${position}`,
  type: "Counter.Increased",
  cause: "it failed",
  attempts: 2,
  setAsideAt: 1_700_000_000_000
})

const setAside = (store: AnyStore, from: number | undefined, one: ViewStore.DeadLetter) =>
  store.transact({ key, from: from === undefined ? undefined : at(from), to: one.position }, (_view, { setAside }) =>
    setAside(one)
  )

describe.concurrent.each(Object.entries(kinds))("views in %s", (name, kind) => {
  const test = (title: string, run: (store: AnyStore) => Effect.Effect<unknown, unknown, Scope.Scope>): void =>
    it.live(title, () => Effect.flatMap(kind.make, (layer) => Effect.provide(Effect.flatMap(kind.store, run), layer)))

  test("G6 a move to the same or an earlier position is refused, and nothing is done", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* move(store, undefined, 30)
      for (const [from, to] of [
        [30, 30],
        [30, 20],
        [40, 35]
      ] as const) {
        const error = yield* Effect.flip(move(store, from, to))
        assert.strictEqual((error as { readonly _tag: string })._tag, "RecorderFailure")
        assert.match(String(error), new RegExp(`"log".*"journal".*from position ${from} to position ${to}`))
      }
      assert.deepStrictEqual(yield* read(store), ["to 30"])
      assert.deepStrictEqual(yield* progress(store), ["1 current 30"])
    }))

  test("G6 a move from another position than that of the tracking is a conflict, and nothing is done", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* move(store, undefined, 100)
      // one runner paused with 101 to 200 in its batch, while another processed 101 to 150
      yield* move(store, 100, 150)
      for (const [from, to] of [
        [100, 200],
        [undefined, 200],
        [149, 151],
        [151, 152],
        [200, 300]
      ] as const) {
        let ran = false
        const error = yield* Effect.flip(
          store.transact(
            { key, from: from === undefined ? undefined : at(from), to: at(to) },
            Effect.fnUntraced(function* (view) {
              ran = true
              yield* write(view, "stale")
            })
          )
        )
        assert.include(error, {
          _tag: "TrackingConflict",
          projection: "journal",
          upstream: "log",
          expected: from === undefined ? undefined : at(from),
          actual: at(150)
        })
        assert.isFalse(ran)
      }
      assert.deepStrictEqual(yield* read(store), ["to 100", "to 150"])
      assert.deepStrictEqual(yield* progress(store), ["1 current 150"])
    }))

  test("G6 the record of the log comes back with the view, until a move or a reset without one", (store) =>
    Effect.gen(function* () {
      const noted = Effect.map(open(store), ({ seen }) => seen)
      assert.isUndefined(yield* noted)
      const event = { id: "event-2", position: at(2), stream: 'Counter-a,"b"-ü' }
      const recordedAt = 1_700_000_000_000
      const seen = {
        position: at(3),
        aggregates: ["Counter", "Dog"],
        recordedAt,
        events: [event, { ...event, position: at(3) }]
      }
      const work = () => Effect.void
      yield* store.transact({ key, from: undefined, to: at(3), seen }, work)
      assert.deepStrictEqual(yield* noted, seen)
      // nothing of a failed move remains
      yield* Effect.flip(store.transact({ key, from: at(1), to: at(4), seen: { ...seen, position: at(4) } }, work))
      assert.deepStrictEqual(yield* noted, seen)
      const again = { ...seen, recordedAt: 1 }
      yield* store.note(key, again)
      yield* store.note(key, { ...seen, position: at(2) })
      assert.deepStrictEqual(yield* noted, again)
      yield* move(store, 3, 4)
      assert.isUndefined(yield* noted)
      yield* store.transact({ key, from: at(4), to: at(5), seen: { ...seen, position: at(5) } }, work)
      yield* store.reset(key, setUpJournal)
      assert.isUndefined(yield* noted)
    }))

  test("G6 a runner that was at the start when the view was reset continues, and opening the view then undoes nothing", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* store.reset(key, setUpJournal)
      yield* move(store, undefined, 2)
      assert.include(yield* open(store), { position: at(2), logId: "log-1" })
      assert.deepStrictEqual(yield* progress(store), ["1 current 2"])
    }))

  test("G6 of many concurrent moves from one position, one succeeds", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* move(store, undefined, 1)
      const exits = yield* Effect.forEach([2, 3, 4, 5, 6, 7], (to) => Effect.exit(move(store, 1, to)), {
        concurrency: "unbounded"
      })
      const moved = exits.flatMap((exit, i) => (Exit.isSuccess(exit) ? [i + 2] : []))
      assert.strictEqual(moved.length, 1)
      assert.deepStrictEqual(yield* read(store), ["to 1", `to ${moved[0]}`])
      for (const exit of exits) {
        if (Exit.isFailure(exit))
          assert.include(yield* Effect.flip(exit), { _tag: "TrackingConflict", expected: at(1) })
      }
    }))

  for (const [how, end] of Object.entries({
    fails: Effect.fail("no"),
    "has a defect": Effect.die(new Error("no")),
    "is interrupted": Effect.never
  })) {
    test(`G6 G10 work that ${how} changes neither view nor tracking, and sets nothing aside`, (store) =>
      Effect.gen(function* () {
        yield* open(store)
        yield* move(store, undefined, 1)
        const written = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(
          store.transact(
            { key, from: at(1), to: at(2) },
            Effect.fnUntraced(function* (view, { setAside, isSetAside }) {
              yield* write(view, "half")
              yield* setAside(letter(2, "Counter-1"))
              assert.isTrue(yield* isSetAside("Counter-1"))
              yield* Deferred.succeed(written, undefined)
              yield* end
            })
          )
        )
        yield* Deferred.await(written)
        if (how === "is interrupted") yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        assert.deepStrictEqual(yield* read(store), ["to 1"])
        assert.deepStrictEqual(yield* progress(store), ["1 current 1"])
        assert.deepStrictEqual(yield* store.deadLetters(key), [])
        yield* move(store, 1, 2)
        assert.deepStrictEqual(yield* read(store), ["to 1", "to 2"])
      }))
  }

  test("G6 a setup that fails leaves no version, and can be done again", (store) =>
    Effect.gen(function* () {
      const failing = store.open(key, {
        mode: "followed",
        logId: "log-1",
        aggregates: ["Counter"],
        setup: (view) => Effect.andThen(setUpJournal(view), Effect.fail("no" as const))
      })
      assert.strictEqual(yield* Effect.flip(failing), "no")
      assert.deepStrictEqual(yield* store.versions(key), [])
      yield* open(store)
      assert.deepStrictEqual(yield* read(store), [])
    }))

  test("G6 a concurrent reader undoes nothing that is committed", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* setAside(store, undefined, letter(1, "Counter-1"))
      const reading = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const reader = yield* Effect.forkChild(
        store.read(
          key,
          Effect.fnUntraced(function* (view) {
            const before = yield* entriesOf(view)
            yield* Deferred.succeed(reading, undefined)
            yield* Deferred.await(goOn)
            return before
          })
        )
      )
      yield* Deferred.await(reading)
      yield* move(store, 1, 2)
      yield* setAside(store, 2, letter(3, "Counter-1"))
      yield* Deferred.succeed(goOn, undefined)
      assert.deepStrictEqual(yield* Fiber.join(reader), [])
      assert.deepStrictEqual(yield* read(store), ["to 2"])
      assert.strictEqual((yield* store.deadLetters(key)).length, 2)
    }))

  test("a reader sees nothing of a batch before it is committed, and then all of it", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      const written = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        store.transact(
          { key, from: undefined, to: at(1) },
          Effect.fnUntraced(function* (view) {
            yield* write(view, "a")
            yield* Deferred.succeed(written, undefined)
            yield* Deferred.await(goOn)
            yield* write(view, "b")
          })
        )
      )
      yield* Deferred.await(written)
      // on a single connection, like that of SQLite, readers wait for the end
      const reader = yield* Effect.forkChild(read(store), { startImmediately: true })
      if (name !== "SQLite") assert.deepStrictEqual(yield* Fiber.join(reader), [])
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(fiber)
      if (name === "SQLite") assert.deepStrictEqual(yield* Fiber.join(reader), ["a", "b"])
      assert.deepStrictEqual(yield* read(store), ["a", "b"])
    }))

  test("another version replaces the current one once it has caught up, and the old one moves no more", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* move(store, undefined, 5)
      assert.include(yield* open(store, 2), { status: "building", position: undefined })
      yield* move(store, undefined, 4, 2)
      assert.isFalse(yield* store.promote({ ...key, version: 2 }))
      assert.deepStrictEqual(yield* progress(store), ["1 current 5", "2 building 4"])
      yield* move(store, 4, 5, 2)
      assert.isTrue(yield* store.promote({ ...key, version: 2 }))
      assert.isTrue(yield* store.promote({ ...key, version: 2 }))
      assert.deepStrictEqual(yield* progress(store), ["1 retired 5", "2 current 5"])
      assert.include(yield* Effect.flip(move(store, 5, 6)), { _tag: "ProjectionSuperseded", version: 1, by: 2 })
      assert.include(yield* Effect.flip(open(store)), { _tag: "ProjectionSuperseded", version: 1, by: 2 })
      assert.isFalse(yield* store.promote(key))
      assert.deepStrictEqual([yield* read(store), yield* read(store, 2)], [["to 5"], ["to 4", "to 5"]])
    }))

  test("G12 versions that were overtaken while they were being built move no more, either", (store) =>
    Effect.gen(function* () {
      for (const version of [1, 2, 3]) yield* open(store, version)
      yield* move(store, undefined, 1)
      yield* move(store, undefined, 1, 2)
      yield* move(store, undefined, 2, 3)
      assert.isTrue(yield* store.promote({ ...key, version: 3 }))
      assert.include(yield* Effect.flip(move(store, 1, 2, 2)), { _tag: "ProjectionSuperseded", version: 2, by: 3 })
      assert.deepStrictEqual(yield* progress(store), ["1 retired 1", "2 retired 1", "3 current 2"])
    }))

  test("a version is removed with everything that belongs to it, but not the current one", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* open(store, 2)
      yield* setAside(store, undefined, letter(1, "Counter-1"))
      yield* move(store, undefined, 1, 2)
      assert.isFalse(yield* store.remove(key))
      yield* store.promote({ ...key, version: 2 })
      assert.isTrue(yield* store.remove(key))
      assert.isFalse(yield* store.remove(key))
      assert.deepStrictEqual(yield* progress(store), ["2 current 1"])
      assert.deepStrictEqual(yield* store.deadLetters(key), [])
      assert.deepStrictEqual(yield* read(store, 2), ["to 1"])
    }))

  test("a reset clears the view, its tracking and its dead letters, in one transaction", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* setAside(store, undefined, letter(1, "Counter-1"))
      yield* move(store, 1, 2)
      const failing = store.reset(key, (view) => Effect.andThen(setUpJournal(view), Effect.fail("no" as const)))
      assert.strictEqual(yield* Effect.flip(failing), "no")
      assert.deepStrictEqual(yield* read(store), ["to 2"])
      assert.deepStrictEqual(yield* progress(store), ["1 current 2"])
      yield* store.reset(key, setUpJournal)
      assert.deepStrictEqual(yield* read(store), [])
      assert.deepStrictEqual(yield* progress(store), ["1 current -"])
      assert.deepStrictEqual(yield* store.deadLetters(key), [])
      assert.include(yield* Effect.flip(move(store, 2, 3)), { _tag: "TrackingConflict", actual: undefined })
      // it may belong to another log now
      const other = { mode: "followed", logId: "log-2", aggregates: ["Counter", "Dog"], setup: setUpJournal } as const
      const aggregates = ["Counter", "Dog"]
      assert.deepInclude(yield* store.open(key, other), { logId: "log-2", aggregates, position: undefined })
      assert.deepInclude(yield* open(store), { logId: "log-2", aggregates })
    }))

  test("dead letters are stored as given, in the order of the log, and replayed once", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      // also positions that are too large for a number
      const far = 2n ** 60n + 1n
      const letters = [letter(9, "Counter-1"), letter(10, "Counter-2"), letter(11, "Counter-1")] as const
      const last = { ...letter(12, "Counter-3"), position: Position.Position.make(far), cause: 'it\'s "so" ✓' }
      yield* setAside(store, undefined, letters[0])
      yield* setAside(store, 9, letters[1])
      yield* setAside(store, 10, letters[2])
      yield* setAside(store, 11, last)
      assert.deepStrictEqual(yield* store.deadLetters(key), [...letters, last])
      assert.deepStrictEqual(yield* store.deadLetters(key, "Counter-1"), [letters[0], letters[2]])
      const failing = store.takeBack(key, last.position, (view) =>
        Effect.andThen(write(view, "half"), Effect.fail("no" as const))
      )
      assert.strictEqual(yield* Effect.flip(failing), "no")
      yield* store.triedAgain(key, last.position, "again")
      assert.deepStrictEqual((yield* store.deadLetters(key)).at(-1), { ...last, attempts: 3, cause: "again" })
      const takeBack = store.takeBack(key, last.position, (view) => write(view, "back"))
      const answers = yield* Effect.all([takeBack, takeBack, takeBack], { concurrency: "unbounded" })
      assert.deepStrictEqual([...answers].sort(), [false, false, true])
      assert.deepStrictEqual(yield* store.deadLetters(key), letters)
      assert.deepStrictEqual(yield* read(store), ["back"])
    }))

  test("G6 dead letters are replayed in the order of their stream", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      for (const [n, stream] of ["Counter-1", "Counter-2", "Counter-1"].entries()) {
        yield* setAside(store, n === 0 ? undefined : n, letter(n + 1, stream))
      }
      const takeBack = (n: number) =>
        store.takeBack(key, Position.Position.make(BigInt(n)), (view) => write(view, `${n}`))
      assert.isFalse(yield* takeBack(3))
      for (const n of [2, 1, 3]) assert.isTrue(yield* takeBack(n))
      assert.deepStrictEqual(yield* store.deadLetters(key), [])
      assert.deepStrictEqual(yield* read(store), ["2", "1", "3"])
    }))

  test("dead letters are discarded by stream or by event, and their stream is free when none is left", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      for (const [n, stream] of ["Counter-1", "Counter-2", "Counter-1", "Counter-1"].entries()) {
        yield* setAside(store, n === 0 ? undefined : n, letter(n + 1, stream))
      }
      const left = Effect.map(store.deadLetters(key), (letters) => letters.map(({ eventId }) => eventId))
      assert.strictEqual(yield* store.discard(key, letter(1, "Counter-1")), 1)
      assert.strictEqual(yield* store.discard(key, { eventId: "event-1" }), 0)
      assert.strictEqual(yield* store.discard({ ...key, version: 2 }, { stream: "Counter-1" }), 0)
      assert.deepStrictEqual(yield* left, ["event-2", "event-3", "event-4"])
      // the event after it is the first now
      assert.isTrue(yield* store.takeBack(key, at(3), (view) => write(view, "3")))
      assert.strictEqual(yield* store.discard(key, { stream: "Counter-1" }), 1)
      assert.deepStrictEqual(yield* left, ["event-2"])
      const isFree = store.transact({ key, from: at(4), to: at(5) }, (_view, { discard, isSetAside }) =>
        Effect.gen(function* () {
          assert.isFalse(yield* isSetAside("Counter-1"))
          assert.isTrue(yield* isSetAside("Counter-2"))
          assert.strictEqual(yield* discard("Counter-2"), 1)
          assert.isFalse(yield* isSetAside("Counter-2"))
          return yield* Effect.fail("no" as const)
        })
      )
      assert.strictEqual(yield* Effect.flip(isFree), "no")
      assert.deepStrictEqual(yield* left, ["event-2"])
    }))

  test("all versions of a projection are removed together, and those of others are not", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      yield* open(store, 2)
      yield* setAside(store, undefined, letter(1, "Counter-1"))
      assert.isTrue(yield* store.lease(key, "a", 60_000))
      const other = { ...key, projection: "journal2" }
      yield* store.open(other, { mode: "followed", logId: "log-1", aggregates: ["Counter"], setup: setUpJournal })
      const { version: _, ...all } = key
      assert.isTrue(yield* store.remove(all))
      assert.isFalse(yield* store.remove(all))
      assert.deepStrictEqual(yield* store.versions(key), [])
      assert.deepStrictEqual(yield* store.deadLetters(key), [])
      assert.isTrue(yield* store.lease(key, "b", 60_000))
      assert.deepStrictEqual(yield* store.read(other, entriesOf), [])
      // an existing version is not created again, any other is
      const existing = {
        mode: "followed",
        logId: "log-1",
        aggregates: ["Counter"],
        setup: setUpJournal,
        existing: true
      } as const
      assert.include(yield* Effect.flip(store.open(key, existing)), { _tag: "ProjectionRemoved", version: 1 })
      assert.include(yield* open(store), { status: "current", position: undefined })
      assert.include(yield* store.open(key, existing), { status: "current" })
      assert.deepStrictEqual(yield* read(store), [])
    }))

  test("the work of a move can end it at an earlier position", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      const seen = { position: at(3), aggregates: ["Counter"], events: [], recordedAt: 1 }
      const ending = { ...seen, position: at(2) }
      yield* store.transact({ key, from: undefined, to: at(3), seen }, (view, { endAt, left }) => {
        assert.isAbove(left(), 0)
        return Effect.andThen(write(view, "one"), endAt(at(2), ending))
      })
      const progress = yield* open(store)
      assert.strictEqual(progress.position, at(2))
      assert.deepStrictEqual(progress.seen, ending)
      assert.strictEqual(store.localProgress(key.projection).position(1), at(2))
      const failing = store.transact({ key, from: at(2), to: at(5) }, (_view, { endAt }) =>
        Effect.andThen(endAt(at(4), undefined), Effect.fail("no" as const))
      )
      assert.strictEqual(yield* Effect.flip(failing), "no")
      assert.strictEqual((yield* open(store)).position, at(2))
      yield* move(store, 2, 5)
      assert.strictEqual((yield* open(store)).position, at(5))
    }))

  test("a query for several projections at once returns the result of each", (store) =>
    Effect.gen(function* () {
      const names = ["a", "b", "c"]
      const keys = names.map((projection) => ({ ...key, projection }))
      const options = { mode: "followed", logId: "log-1", aggregates: ["Counter"], setup: setUpJournal } as const
      for (const key of keys.slice(0, 2)) yield* store.open(key, options)
      yield* store.open({ ...keys[0], ...key, projection: "a", version: 2 }, options)
      const all = yield* Effect.forEach([...keys, ...keys], store.versions, { concurrency: "unbounded" })
      const numbers = all.map((versions) => versions.map(({ version }) => version))
      assert.deepStrictEqual(numbers, [[1, 2], [1], [], [1, 2], [1], []])
      const take = (holder: string) =>
        Effect.forEach(keys.toReversed(), (key) => store.lease(key, holder, 60_000), { concurrency: "unbounded" })
      assert.isTrue(yield* store.lease({ ...key, projection: "b" }, "other", 60_000))
      const [one, two] = yield* Effect.all([take("one"), take("two")], { concurrency: "unbounded" })
      assert.deepStrictEqual(
        [one, two],
        [
          [true, false, true],
          [false, false, false]
        ]
      )
    }))

  test("a lease is held by one runner until it is released or has expired", (store) =>
    Effect.gen(function* () {
      const lease = (holder: string, milliseconds: number) => store.lease(key, holder, milliseconds)
      assert.isTrue(yield* lease("a", 60_000))
      assert.isFalse(yield* lease("b", 60_000))
      assert.isTrue(yield* lease("a", 60_000))
      // a runner without the lease releases nothing
      assert.isFalse(yield* lease("b", 0))
      assert.isFalse(yield* lease("b", 60_000))
      assert.isTrue(yield* store.lease({ ...key, version: 2 }, "b", 60_000))
      assert.isFalse(yield* lease("a", 0))
      assert.isTrue(yield* lease("b", 60_000))
      assert.isTrue(yield* lease("b", 30))
      yield* until(lease("c", 60_000))
      assert.isFalse(yield* lease("b", 60_000))
      const racing = { ...key, projection: "raced" }
      const answers = yield* Effect.forEach(["a", "b", "c", "d"], (holder) => store.lease(racing, holder, 60_000), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers.filter((answer) => answer).length, 1)
    }))

  test("of versions that are first opened concurrently, one is the current one", (store) =>
    Effect.gen(function* () {
      const opened = yield* Effect.forEach([1, 1, 2, 3, 3, 4], (version) => Effect.exit(open(store, version)), {
        concurrency: "unbounded"
      })
      const versions = yield* store.versions(key)
      assert.strictEqual(versions.filter(({ status }) => status === "current").length, 1)
      for (const exit of opened) {
        // lower than the version that was opened first
        if (Exit.isFailure(exit)) assert.include(yield* Effect.flip(exit), { _tag: "ProjectionSuperseded" })
      }
    }))

  test("a view that is maintained in one mode is not opened in the other", (store) =>
    Effect.gen(function* () {
      yield* open(store)
      const inline = store.open(key, { mode: "inline", logId: "log-1", aggregates: ["Counter"], setup: setUpJournal })
      assert.include(yield* Effect.flip(inline), { _tag: "ProjectionModeChanged", version: 1, mode: "followed" })
    }))
})
