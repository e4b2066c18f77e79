/**
 * The server is killed mid-write and started again: each acknowledged event is recorded once, and was delivered once.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Fiber } from "effect"
import type { StoredEvent } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { random } from "../../support/random.ts"
import type { Log } from "../support/logs.ts"
import { again, idsOf, openLog, watch } from "../support/logs.ts"
import { isFake } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)

const main = Path.join(import.meta.dirname, "../fake/main.ts")

/** A server in a process of its own, with the same directory and port whenever it is started. */
interface Server {
  readonly uri: string
  readonly kill: Effect.Effect<void>
  readonly start: Effect.Effect<void>
}

const server: Effect.Effect<Server, never, Scope.Scope> = Effect.gen(function* () {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "kurrent-crash-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )
  const run = async (port: number) => {
    const child = spawn(process.execPath, [main, "--directory", directory, "--port", String(port)], {
      stdio: ["pipe", "pipe", "inherit"]
    })
    child.stdin.on("error", () => {})
    const exit = once(child, "exit")
    const [line] = await once(createInterface({ input: child.stdout }), "line")
    const told = JSON.parse(String(line)) as { readonly port: number; readonly uri: string }
    return { ...told, child, exit }
  }
  let running = yield* Effect.promise(() => run(0))
  const { port, uri } = running
  const kill = Effect.promise(async () => {
    running.child.kill("SIGKILL")
    await running.exit
  })
  yield* Effect.addFinalizer(() => kill)
  return {
    uri,
    kill,
    start: Effect.promise(async () => {
      running = await run(port)
    })
  }
})

/** Appends to a stream of its own, over and over, and keeps what was acknowledged; resends what was not. */
const writer = (log: Log, name: string, isOver: () => boolean, acknowledged: Array<StoredEvent.StoredEvent>) =>
  Effect.gen(function* () {
    const stream = StreamName.StreamName.make(name)
    let last: number | undefined
    while (!isOver()) {
      const events = storedEvents(1 + (acknowledged.length % 3))
      const append = log.recorder.append({ stream, expected: last ?? "NoStream", events })
      const { version } = yield* Effect.retry(append, {
        while: ({ _tag }) => _tag === "RecorderUnavailable",
        schedule: again
      })
      assert.strictEqual(version, (last ?? -1) + events.length)
      last = version
      acknowledged.push(...events)
    }
  })

describe("a server that is killed", () => {
  onFake("G5 G7 with several writers: all acknowledged events are there once, and followers have seen each once", () =>
    Effect.gen(function* () {
      const seed = Number(process.env.CRASH_SEED ?? 1)
      const next = random(seed)
      const own = yield* server
      const log = yield* openLog({ connectionString: own.uri, deadline: "5 seconds" })
      const other = yield* openLog({ connectionString: own.uri, prefix: log.prefix, deadline: "5 seconds" })
      const filter = { categories: ["Dog"] }
      const followers = [yield* watch(log), yield* watch(other), yield* watch(log, { filter })]
      const acknowledged: Array<Array<StoredEvent.StoredEvent>> = []
      let isOver = false
      const fibers = yield* Effect.forEach(["Dog-1", "Dog-2", "Cat-1", "Cat-2", "Dog-3", "Cat-3"], (name, n) => {
        const own: Array<StoredEvent.StoredEvent> = []
        acknowledged.push(own)
        return Effect.forkScoped(
          writer(n % 2 === 0 ? log : other, name, () => isOver, own),
          {
            startImmediately: true
          }
        )
      })
      const count = () => acknowledged.reduce((sum, { length }) => sum + length, 0)
      for (let kill = 0; kill < 6; kill++) {
        const before = count()
        const goal = before + 20 + Math.floor(next() * 200)
        while (count() < goal) {
          yield* Effect.sleep("1 millis")
          for (const fiber of fibers) {
            const exit = fiber.pollUnsafe()
            if (exit !== undefined) yield* exit
          }
        }
        yield* own.kill
        // appends, reads and subscriptions find no server for a while
        yield* Effect.sleep(next() * 300)
        yield* own.start
      }
      const goal = count() + 20
      while (count() < goal) yield* Effect.sleep("1 millis")
      isOver = true
      yield* Effect.forEach(fibers, Fiber.join)
      const ids = yield* idsOf(log)
      assert.strictEqual(new Set(ids).size, ids.length, `CRASH_SEED=${seed}`)
      // every writer has waited for its response: nothing else is recorded
      assert.sameMembers(
        [...ids],
        acknowledged.flat().map(({ id }) => id),
        `CRASH_SEED=${seed}`
      )
      const dogs = (yield* log.recorder.readAll({ filter, limit: 1_000_000 })).map(({ id }) => id)
      for (const [n, follower] of followers.entries()) {
        const expected = n === 2 ? dogs : ids
        yield* follower.until(() => follower.ids.length >= expected.length)
        assert.deepStrictEqual(follower.ids, expected, `follower ${n}, CRASH_SEED=${seed}`)
      }
    })
  )

  onFake("G7 and restarted returns the same results for repeated appends, to earlier clients and to new ones", () =>
    Effect.gen(function* () {
      const own = yield* server
      const log = yield* openLog({ connectionString: own.uri })
      const append = {
        stream: StreamName.StreamName.make("Dog-1"),
        expected: "NoStream",
        events: storedEvents(3)
      } as const
      const answer = yield* log.recorder.append(append)
      for (let round = 0; round < 3; round++) {
        yield* own.kill
        // a read that finds no server: the client's own would never recover
        assert.strictEqual((yield* Effect.flip(log.recorder.readAll({ limit: 1 })))._tag, "RecorderUnavailable")
        yield* own.start
        assert.lengthOf(yield* idsOf(log), 3)
        assert.deepStrictEqual(yield* Effect.retry(log.recorder.append(append), { schedule: again }), answer)
        const fresh = yield* openLog({ connectionString: own.uri, prefix: log.prefix })
        assert.strictEqual(fresh.recorder.logId, log.recorder.logId)
        assert.deepStrictEqual(yield* fresh.recorder.append(append), answer)
        assert.lengthOf(yield* idsOf(fresh), 3)
      }
    })
  )
})
