import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Scope } from "effect"
import type { Position } from "effect-eventsourcing"
import { Recorder, StreamName } from "effect-eventsourcing"
import { sizeOf } from "../../../src/internal/backend/pageSize.ts"
import * as Tail from "../../../src/internal/following/tail.ts"
import { storedEvent, storedEvents } from "../../../src/testing/backend/events.ts"
import { makeLog } from "../../support/memoryLog.ts"

const PAYLOAD = 998
/** An event of this size. */
const SIZE = PAYLOAD + 2

/** A tail of a log in memory, and how to append to it. */
const makeTail = Effect.fnUntraced(function* (tailBytes: number) {
  const recorder = Context.get(yield* makeLog, Recorder.Recorder)
  const tail = yield* Tail.make(recorder, { pageBytes: 4 * SIZE, tailBytes }, Effect.void)
  let count = 0
  /** Appends one event after the other, and waits until the tail has read them; returns their positions. */
  const append = Effect.fnUntraced(function* (category: string, events: number, size = SIZE) {
    const positions: Array<Position.Position> = []
    for (let i = 0; i < events; i++) {
      const payload = "x".repeat(size - 2)
      const stream = StreamName.StreamName.make(`${category}-${count++}`)
      const { position } = yield* recorder.append({ stream, expected: "NoStream", events: [storedEvent({ payload })] })
      positions.push(position)
      yield* reached(position)
    }
    return positions
  })
  const reached = (position: Position.Position): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (tail.position() === position) return Effect.void
      const seen = tail.changes.current()
      return Effect.andThen(Effect.orDie(tail.changes.after(seen)), reached(position))
    })
  return { recorder, tail, append, reached }
})

const of = (...categories: ReadonlyArray<string>): Tail.Interest => ({ categories, matches: () => true })

const sizes = (events: ReadonlyArray<{ readonly payload: string | Uint8Array; readonly metadata: string }> = []) =>
  events.reduce((sum, event) => sum + sizeOf(event), 0)

describe("the shared tail", () => {
  it.effect("keeps at most a number of bytes, the newest events, and reaches back as far as these", () =>
    Effect.gen(function* () {
      const { tail, append } = yield* makeTail(10 * SIZE)
      const member = yield* tail.join(of("Dog"))
      const positions = yield* append("Dog", 100)
      assert.isUndefined(member.eventsAfter(undefined))
      const reach = positions.filter((position) => member.eventsAfter(position) !== undefined)
      assert.deepStrictEqual(reach, positions.slice(-reach.length))
      assert.isAtLeast(reach.length, 5)
      const kept = member.eventsAfter(reach[0]) ?? []
      assert.deepStrictEqual(
        kept.map(({ position }) => position),
        reach.slice(1)
      )
      assert.isAtMost(sizes(kept), 10 * SIZE)
    })
  )

  it.effect("keeps nothing of an event that is larger than its limit", () =>
    Effect.gen(function* () {
      const { tail, append } = yield* makeTail(10 * SIZE)
      const member = yield* tail.join(of("Dog"))
      const [before] = yield* append("Dog", 1)
      const [large] = yield* append("Dog", 1, 11 * SIZE)
      assert.isUndefined(member.eventsAfter(before))
      assert.deepStrictEqual(member.eventsAfter(large), [])
      const [after] = yield* append("Dog", 1)
      assert.deepStrictEqual(
        member.eventsAfter(large)?.map(({ position }) => position),
        [after]
      )
    })
  )

  it.effect("keeps at most 8,192 events", () =>
    Effect.gen(function* () {
      const { recorder, tail, reached } = yield* makeTail(Number.POSITIVE_INFINITY)
      const member = yield* tail.join(of("Dog"))
      const stream = StreamName.StreamName.make("Dog-1")
      const { position } = yield* recorder.append({ stream, expected: "NoStream", events: storedEvents(10_000) })
      yield* reached(position)
      const [oldest] = yield* recorder.readAll({ limit: 1 })
      assert.isUndefined(member.eventsAfter(undefined))
      assert.isUndefined(member.eventsAfter(oldest?.position))
      assert.isAtMost(member.eventsAfter((position - 4096n) as Position.Position)?.length ?? 0, 8192)
    })
  )

  it.effect("keeps only events that a follower wants, by category and otherwise", () =>
    Effect.gen(function* () {
      const { tail, append } = yield* makeTail(10 * SIZE)
      const scope = yield* Scope.make()
      const dogs = yield* tail.join(of("Dog", "Cow"))
      const some = yield* Scope.provide(
        tail.join({ categories: ["Cat"], matches: ({ stream }) => stream === "Cat-1" }),
        scope
      )
      const places = (member: Tail.Member, after?: Position.Position) =>
        member.eventsAfter(after)?.map(({ stream }) => `${stream}`)
      yield* append("Dog", 1)
      yield* append("Cat", 2)
      // far more than is kept
      yield* append("Document", 100)
      yield* append("Cow", 1)
      assert.deepStrictEqual(places(dogs), ["Dog-0", "Cat-1", "Cow-103"])
      assert.deepStrictEqual(places(some), ["Dog-0", "Cat-1", "Cow-103"])
      yield* Scope.close(scope, Exit.void)
      yield* append("Cat", 1)
      assert.deepStrictEqual(places(dogs), ["Dog-0", "Cat-1", "Cow-103"])
    })
  )

  it.effect("does not reach back, for a follower that joins, to earlier events", () =>
    Effect.gen(function* () {
      const { tail, append } = yield* makeTail(Number.POSITIVE_INFINITY)
      const first = yield* tail.join(of("Dog"))
      const [dog] = yield* append("Dog", 1)
      const [cat] = yield* append("Cat", 1)
      const second = yield* tail.join(of("Cat"))
      assert.isUndefined(second.eventsAfter(undefined))
      assert.isUndefined(second.eventsAfter(dog))
      assert.deepStrictEqual(second.eventsAfter(cat), [])
      yield* append("Cat", 1)
      assert.strictEqual(second.eventsAfter(cat)?.length, 1)
      assert.strictEqual(first.eventsAfter(undefined)?.length, 2)
    })
  )
})
