/** A log on a busy server: it is read and followed, however long the server searches for its events. */
import { assert, describe, it } from "@effect/vitest"
import { jsonEvent, KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect, Layer, Stream } from "effect"
import { Projection, ProjectionRunner, Subscription } from "effect-eventsourcing"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { MemoryViews } from "effect-eventsourcing/memory"
import { Counter, increase } from "../../support/dog.ts"
import { untilProcessed } from "../../support/untilProcessed.ts"
import { openLog, ownFake, watch } from "../support/logs.ts"
import { isFake } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)
const id = Counter.Id.make("1")

const DEADLINE = 400

/** A log after many events of others, with as many after it, and how slowly a server looks through them. */
const sparse = (others: number) =>
  Effect.gen(function* () {
    const fake = yield* ownFake()
    const client = yield* Effect.acquireRelease(
      Effect.sync(() => KurrentDBClient.connectionString(fake.uri)),
      (client) => Effect.promise(() => client.dispose())
    )
    const fill = Effect.promise(async () => {
      for (let n = 0; n < others; n += 500) {
        await client.appendToStream(
          `Other-${n}`,
          Array.from({ length: 500 }, () => jsonEvent({ type: "Happened", data: { n } }))
        )
      }
    })
    yield* fill
    const log = yield* openLog({ connectionString: fake.uri, deadline: `${DEADLINE} millis` })
    const counters = log.repository.of(Counter)
    yield* counters.execute(id, Counter.Started())
    yield* counters.execute(id, increase)
    yield* fill
    /** Another process. */
    const other = openLog({ connectionString: fake.uri, deadline: `${DEADLINE} millis`, prefix: log.prefix })
    return { client, counters, fake, fill, log, other }
  })

const Total = Projection.make("total", {
  aggregates: [Counter],
  view: Projection.memory(() => 0),
  handlers: { Counter: { Started: Projection.ignore, Increased: (_event, view) => view.update((n) => n + 1) } }
})

describe("a log among many events of other programs", () => {
  for (const direction of ["forward", "backward"] as const) {
    onFake(`is read, though the server looks for its events longer than the deadline: ${direction}`, () =>
      Effect.gen(function* () {
        const { fake, other } = yield* sparse(2000)
        // each stretch takes twice the deadline
        fake.faults.lookSlowly(2000 / (2 * DEADLINE))
        const { recorder, store } = yield* other
        assert.lengthOf(yield* recorder.readAll({ direction, limit: 10 }), 2)
        assert.lengthOf(yield* Stream.runCollect(store.readAll([Counter], { direction })), 2)
      })
    )
  }

  onFake("is subscribed to and projected", () =>
    Effect.gen(function* () {
      const { fake, other } = yield* sparse(1000)
      fake.faults.lookSlowly(1000 / (2 * DEADLINE))
      const { built, repository } = yield* other
      const program = Effect.gen(function* () {
        const first = yield* Stream.runHead(Subscription.category(Counter))
        assert.strictEqual(first._tag, "Some")
        yield* ProjectionRunner.make(Total)
        const { position } = yield* repository.of(Counter).execute(id, increase)
        yield* untilProcessed(Total, position)
        assert.strictEqual(yield* Projection.read(Total, (view) => view.get), 2)
      })
      yield* Effect.scoped(Effect.provide(program, Layer.merge(MemoryViews(), Layer.succeedContext(built))))
    })
  )

  onFake("is followed with a filter, which reports its position", () =>
    Effect.gen(function* () {
      const { fake, log, other } = yield* sparse(1000)
      const [, last] = yield* log.recorder.readAll({ limit: 10 })
      fake.faults.lookSlowly(1000 / (2 * DEADLINE))
      const one = yield* other
      for (const filter of [{ categories: ["Counter"] }, { types: ["Nothing"] }]) {
        const seen = yield* watch(one, { filter })
        yield* seen.until(
          () => seen.states.at(-1)?._tag === "Live" && (seen.position() ?? 0n) >= (last?.position ?? 0n)
        )
        assert.lengthOf(seen.ids, filter.types === undefined ? 2 : 0)
      }
    })
  )

  onFake("has a head, which is found without a full scan: no event of it comes later", () =>
    Effect.gen(function* () {
      const { counters, fake, fill, log, other } = yield* sparse(1000)
      const [, last] = yield* log.recorder.readAll({ limit: 10 })
      // the search would never end
      fake.faults.lookSlowly(0.001)
      const { recorder } = yield* other
      const head = yield* recorder.head
      assert.isTrue(head !== undefined && head >= (last?.position ?? 0n))
      // it stays where it is while there is nothing new, and is exact when there is
      assert.strictEqual(yield* recorder.head, head)
      const { position } = yield* counters.execute(id, increase)
      assert.strictEqual(yield* recorder.head, position)
      if (position === undefined) return assert.fail("it was recorded")
      yield* fill
      assert.isTrue(((yield* recorder.head) ?? 0n) >= position)
      fake.faults.lookSlowly()
      // it can be read from
      assert.deepStrictEqual(yield* recorder.readAll({ after: head, upTo: position, limit: 1, direction: "forward" }), [
        (yield* log.recorder.readStream({ stream: last!.stream, direction: "backward", limit: 1 }))[0]!
      ])
    })
  )

  onFake("that is new has no events, and no head if there are few events of others", () =>
    Effect.gen(function* () {
      const { fake } = yield* sparse(500)
      const log = yield* openLog({ connectionString: fake.uri, prefix: "another." })
      assert.strictEqual(yield* log.recorder.head, undefined)
      assert.lengthOf(yield* log.recorder.readAll({ limit: 1 }), 0)
    })
  )

  onFake("is not scanned twice where it has been scanned before, even from the start", () =>
    Effect.gen(function* () {
      const { fake, other } = yield* sparse(2000)
      fake.faults.lookSlowly(2000 / DEADLINE)
      const { recorder, store } = yield* other
      const before = fake.faults.looked
      assert.lengthOf(yield* recorder.readAll({ limit: 1 }), 1)
      const once = fake.faults.looked - before
      assert.isAtLeast(once, 2000)
      assert.lengthOf(yield* recorder.readAll({ limit: 1 }), 1)
      assert.lengthOf(yield* Stream.runCollect(Stream.take(store.readAll([Counter]), 1)), 1)
      assert.lengthOf(yield* recorder.readAll({ filter: { types: ["Counter.Started"] }, limit: 1 }), 1)
      // only what comes after the first
      assert.isBelow(fake.faults.looked - before - once, 2 * 2100 + 100)
    })
  )

  onFake("fails with the deadline if the server does not respond, also while it scans", () =>
    Effect.gen(function* () {
      const { fake, other } = yield* sparse(500)
      const { recorder } = yield* other
      fake.faults.silence("reads")
      const held = fake.faults.held
      for (const call of [recorder.readAll({ limit: 10 }), recorder.readAll({ direction: "backward", limit: 10 })]) {
        const error = yield* Effect.flip(call)
        assert.strictEqual(error._tag, "RecorderUnavailable")
        assert.include(error.message, `within ${DEADLINE} ms`)
      }
      // each was sent once, along with the probe whether the server responds at all
      assert.isAtMost(fake.faults.held - held, 2 * 5)
      assert.strictEqual((yield* Effect.flip(recorder.head))._tag, "RecorderUnavailable")
    })
  )

  onFake("is read by the client with a filter", () =>
    Effect.gen(function* () {
      const { fake, log } = yield* sparse(2000)
      fake.faults.lookSlowly(2000 / (2 * DEADLINE))
      const client = KurrentClient.layer({ connectionString: fake.uri, deadline: `${DEADLINE} millis` })
      const read = KurrentClient.use((client) =>
        Stream.runCollect(client.readAll({ filter: { on: "stream", prefixes: [`${log.prefix}Counter-`] } }))
      )
      assert.lengthOf(yield* Effect.provide(read, client), 2)
    })
  )
})
