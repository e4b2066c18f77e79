import { assert } from "@effect/vitest"
import type { Scope } from "effect"
import { Array as Arr, Context, Effect } from "effect"
import type { RecorderError } from "../../../EventSourcingError.ts"
import { Recorder } from "../../../Recorder.ts"
import type { Notification } from "../../../StoredEvent.ts"
import type { Backend } from "../Backend.ts"
import { storedEvents } from "../events.ts"
import { startFollower } from "../internal/follower.ts"
import { assertAscending, places, readLog, readOrderlyLog, stream } from "../internal/reading.ts"
import type { Log } from "../internal/register.ts"
import { testsOn } from "../internal/register.ts"

/** The total order during many writes and reads: G3, G4. */
export const totalOrderTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)

  test("G3 10 writers of 50 batches of 100 events, 2 readers: no position appears later than a higher one that was already seen", (log) =>
    Effect.gen(function* () {
      const [one, two] = yield* twoConnections(log)
      const jobs = Arr.makeBy(50, (n) => ({ recorder: n % 2 === 0 ? one : two, name: stream(`Job-${n}`) }))
      const writing = Effect.forEach(
        jobs,
        ({ recorder, name }) => recorder.append({ stream: name, expected: "NoStream", events: storedEvents(100) }),
        { concurrency: 10, discard: true }
      )
      const [seenByOne, seenByTwo] = yield* readWhile(writing, [
        { recorder: one, limit: 10 },
        { recorder: two, limit: 64 }
      ])
      const whole = places(yield* readOrderlyLog(one))
      assert.strictEqual(whole.length, 5000)
      assert.deepStrictEqual(places(seenByOne), whole)
      assert.deepStrictEqual(places(seenByTwo), whole)
    }))

  test("G3 readers and followers of a log with racing, refused and repeated appends see the same order", (log) =>
    Effect.gen(function* () {
      const [one, two] = yield* twoConnections(log)
      const followers = yield* Effect.forEach([one, two], (recorder) => startFollower(recorder))
      const writer = (n: number) =>
        Effect.gen(function* () {
          const recorder = n % 2 === 0 ? one : two
          for (let i = 0; i < 15; i++) {
            const name = stream(`Shared-${(n + i) % 4}`)
            const [last] = yield* recorder.readStream({ stream: name, direction: "backward", limit: 1 })
            const append = {
              stream: name,
              expected: last?.version ?? ("NoStream" as const),
              events: storedEvents(1 + ((n + i) % 3))
            }
            const isFirst = yield* recorder.append(append).pipe(
              Effect.as(true),
              Effect.catchTag("WrongExpectedVersion", () => Effect.succeed(false))
            )
            if (isFirst) yield* recorder.append(append)
          }
        })
      const writing = Effect.forEach(Arr.range(0, 11), writer, { concurrency: "unbounded", discard: true })
      const [seenByOne, seenByTwo] = yield* readWhile(writing, [
        { recorder: one, limit: 3 },
        { recorder: two, limit: 1000 }
      ])
      const whole = places(yield* readOrderlyLog(one))
      assert.deepStrictEqual(places(seenByOne), whole)
      assert.deepStrictEqual(places(seenByTwo), whole)
      for (const follower of followers) {
        yield* follower.until(({ notifications }) => notifications.length >= whole.length)
        assert.deepStrictEqual(places(follower.notifications), whole)
      }
    }))

  test("G3 the positions of two concurrent batches of 1000 events do not overlap", (log) =>
    Effect.gen(function* () {
      const recorders = yield* twoConnections(log)
      for (let round = 0; round < 3; round++) {
        const names = [stream(`Left-${round}`), stream(`Right-${round}`)]
        const answers = yield* Effect.forEach(
          names,
          (name, i) => recorders[i]!.append({ stream: name, expected: "NoStream", events: storedEvents(1000) }),
          { concurrency: "unbounded" }
        )
        const [left, right] = yield* Effect.forEach(names, (name) =>
          Effect.map(recorders[0].readStream({ stream: name, limit: 1000 }), (events) => events.map((_) => _.position))
        )
        const isDisjoint = left!.at(-1)! < right![0]! || right!.at(-1)! < left![0]!
        assert.isTrue(isDisjoint, `${left![0]} to ${left!.at(-1)} and ${right![0]} to ${right!.at(-1)}`)
        assert.deepStrictEqual(
          answers.map(({ position }) => position),
          [left!.at(-1), right!.at(-1)]
        )
      }
      assert.strictEqual((yield* readOrderlyLog(recorders[0])).length, 6000)
    }))

  test("G3 an append that begins after another has completed comes after it", (log) =>
    Effect.gen(function* () {
      const [one, two] = yield* twoConnections(log)
      const chain = (n: number) =>
        Effect.gen(function* () {
          let before: bigint | undefined
          for (let i = 0; i < 20; i++) {
            const recorder = (n + i) % 2 === 0 ? one : two
            const name = stream(`Chain-${n}-${i}`)
            const { position } = yield* recorder.append({ stream: name, expected: "NoStream", events: storedEvents(2) })
            assert.isTrue(before === undefined || position > before, `${position} after ${before}`)
            const head = yield* (recorder === one ? two : one).head
            assert.isTrue(head !== undefined && head >= position, `head ${head} after ${position}`)
            before = position
          }
        })
      yield* Effect.forEach(Arr.range(1, 8), chain, { concurrency: "unbounded", discard: true })
      assert.strictEqual((yield* readOrderlyLog(one)).length, 320)
    }))

  test("G4 writers of many streams: each stream has the same order in the total order as on its own", (log) =>
    Effect.gen(function* () {
      const recorders = yield* twoConnections(log)
      const write = (n: number) =>
        Effect.forEach(
          Arr.range(0, 24),
          (i) =>
            recorders[(n + i) % 2]!.append({
              stream: stream(`Dog-${n}`),
              expected: i === 0 ? "NoStream" : i * 2 - 1,
              events: storedEvents(2)
            }),
          { discard: true }
        )
      yield* Effect.forEach(Arr.range(1, 20), write, { concurrency: "unbounded", discard: true })
      assert.strictEqual((yield* readOrderlyLog(recorders[0])).length, 1000)
      assertAscending(yield* readLog(recorders[1], { limit: 17 }))
    }))
}

/** The recorders of the test's connection and of another one. */
const twoConnections = (
  log: Log<Recorder>
): Effect.Effect<readonly [Recorder["Service"], Recorder["Service"]], unknown, Recorder | Scope.Scope> =>
  Effect.gen(function* () {
    return [yield* Recorder, Context.get(yield* log.connect, Recorder)] as const
  })

/**
 * Reads continually after the last event seen, while something writes and then to the end.
 *
 * A reader that has all events in the end has missed none that appeared before one it had already seen.
 */
const readWhile = <E>(
  writing: Effect.Effect<unknown, E>,
  readers: ReadonlyArray<{ readonly recorder: Recorder["Service"]; readonly limit: number }>
): Effect.Effect<readonly [ReadonlyArray<Notification>, ReadonlyArray<Notification>], E | RecorderError> =>
  Effect.gen(function* () {
    let isDone = false
    const reading = Effect.forEach(
      readers,
      ({ recorder, limit }) =>
        Effect.gen(function* () {
          const seen: Array<Notification> = []
          while (true) {
            const wasDone = isDone
            const page = yield* recorder.readAll({ after: seen[seen.length - 1]?.position, limit })
            seen.push(...page)
            if (page.length === 0 && wasDone) return seen
            yield* Effect.yieldNow
          }
        }),
      { concurrency: "unbounded" }
    )
    const written = Effect.ensuring(
      writing,
      Effect.sync(() => {
        isDone = true
      })
    )
    const [, [one = [], two = []]] = yield* Effect.all([written, reading], { concurrency: "unbounded" })
    return [one, two] as const
  })
