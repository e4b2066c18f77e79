/** More subscriptions than a connection carries calls: nothing waits for them, and all of them are open. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { happened, newStream, onServer, until } from "../support/client.ts"
import { newAppend, openLog, watch } from "../support/logs.ts"

const MANY = 130

describe("many subscriptions of one process", () => {
  onServer(
    "appends and reads do not wait for them, and each gets new events",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      let [caughtUp, heard] = [0, 0]
      for (let n = 0; n < MANY; n++) {
        yield* Effect.forkScoped(
          Stream.runForEach(client.subscribeToStream(stream), (item) =>
            Effect.sync(() => {
              if (item._tag === "CaughtUp") caughtUp++
              else heard++
            })
          )
        )
      }
      yield* until(() => caughtUp >= MANY, "all subscriptions")
      const { revision } = yield* client.append(stream, [happened(0)], { expected: "NoStream" })
      assert.strictEqual(revision, 0n)
      yield* until(() => heard >= MANY, "the event in each")
      assert.lengthOf(yield* Stream.runCollect(client.readStream(stream)), 1)
      // calls that are not appends, too
      yield* client.deleteStream(stream)
      assert.deepStrictEqual(yield* client.persistentSubscriptions.list(stream), [])
    })
  )

  it.live("followers and consumers count too, and those of other layers", () =>
    Effect.gen(function* () {
      const logs = [yield* openLog(), yield* openLog()] as const
      const all = yield* Effect.forEach(logs, (log) =>
        Effect.forEach(Array.from({ length: MANY / 2 }), () => watch(log, { filter: { categories: ["Dog"] } }))
      )
      for (const [n, log] of logs.entries()) {
        yield* log.recorder.append(newAppend("Dog-a"))
        for (const seen of all[n] ?? []) yield* seen.until(() => seen.ids.length === 1)
      }
    })
  )
})
