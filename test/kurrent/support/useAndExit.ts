/**
 * A program that opens a log, uses it in every way, closes it, and then has nothing left to do. With `silent` it waits
 * for a line before it uses the log, and does not wait for any response.
 */
import { once } from "node:events"
import { createInterface } from "node:readline"
import { Context, Effect, Fiber, Layer, Stream } from "effect"
import { Recorder, StreamName } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { storedEvents } from "effect-eventsourcing/testing/backend"

const [uri = "", prefix = "", how] = process.argv.slice(2)

const say = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const program = Effect.gen(function* () {
  const layer = KurrentLayer({ connectionString: uri, prefix, deadline: how === "silent" ? "1 second" : "10 seconds" })
  const recorder = Context.get(yield* Layer.build(layer), Recorder.Recorder)
  if (how === "silent") {
    yield* say("opened")
    yield* Effect.promise(async () => {
      const lines = createInterface({ input: process.stdin })
      await once(lines, "line")
      lines.close()
      process.stdin.destroy()
    })
  }
  const follower = yield* Effect.forkChild(Stream.runDrain(recorder.follow({ filter: { types: ["none"] } })))
  const stream = StreamName.StreamName.make("Dog-a")
  const use = Effect.all(
    [
      recorder.append({ stream, expected: "NoStream", events: storedEvents(100) }),
      recorder.readAll({ limit: 1000 }),
      recorder.readStream({ stream, limit: 10 }),
      Stream.runHead(recorder.follow({}))
    ],
    { concurrency: "unbounded" }
  )
  yield* how === "silent" ? Effect.timeoutOption(use, "200 millis") : use
  yield* Fiber.interrupt(follower)
})

await Effect.runPromise(Effect.andThen(Effect.scoped(program), say("closed")))
