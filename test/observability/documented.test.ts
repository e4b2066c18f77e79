/** The names of spans in docs/observability.md are compared with those of the spans that a program leaves. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { EventStore, Process, Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { happened, newStream } from "../kurrent/support/client.ts"
import { uri } from "../kurrent/support/server.ts"
import { connect, url } from "../postgres/support/database.ts"
import { sqlViews } from "../support/backends.ts"
import { readSqlCounts, sqlCounts } from "../support/countsView.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { recordingTracer } from "./support/spans.ts"

const page = Fs.readFileSync(Path.resolve(import.meta.dirname, "../../docs/observability.md"), "utf8")

/** The names in the first cells of the rows, and at the start of the list items, under "Spans". */
const documented = Array.from(
  (page.split("\n## Spans\n")[1]?.split("\n## ")[0] ?? "").matchAll(/^(?:\||-) `([^`]+)`/gm),
  (match) => match[1]
)

const database = new URL(url()).pathname.slice(1)

/** A name as the page spells it. */
const generic = (name: string): string =>
  name === database
    ? "<database>"
    : name
        .replace(/^(effect-eventsourcing\/(?:Projection|Process)\.).*/, "$1<name>")
        .replace(/^(effect-eventsourcing\/KurrentClient\.).*/, "$1<operation>")

const fido = Dog.id("Fido")

const counting = Process.make("counting", {
  follows: [Dog],
  begin: "start",
  handlers: {
    Dog: {
      Registered: Process.ignore,
      TrickAdded: Process.ignore,
      Rested: () => Process.execute(Counter, Counter.id("one"), increase)
    }
  }
})

/** One of each operation that leaves a span on a log. */
const work = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  yield* dogs.execute(fido, Dog.Registered({ name: "Fido" }))
  yield* dogs.get(fido)
  yield* dogs.get(fido, { version: 0 })
  yield* dogs.execute(fido, addTrick("sit"))
  const { dog } = yield* Repository.transaction(
    { dog: Repository.existing(Dog, fido), counter: Repository.missing(Counter, Counter.id("one")) },
    () => ({ dog: Dog.Rested(), counter: Counter.Started() })
  )
  const store = yield* EventStore.EventStore
  yield* store.append(Dog, fido, { expected: "Any", events: [Dog.Rested()] })
  yield* Process.settle([counting])
  yield* ProjectionRunner.make(sqlCounts())
  yield* Projection.wait(sqlCounts(), dog.position)
  yield* readSqlCounts
})

describe("docs/observability.md", () => {
  it.live("names the spans that are recorded, those of the SQL clients among them", () =>
    Effect.gen(function* () {
      const { all, tracer } = recordingTracer()
      yield* Effect.gen(function* () {
        for (const views of Object.values(sqlViews)) {
          yield* Effect.provide(Effect.scoped(work), Layer.merge(MemoryLayer(), yield* views))
        }
        const sql = yield* connect()
        yield* sql`SELECT 1`
        const client = KurrentClient.use((client) =>
          client.append(newStream(), [happened(1)], { expected: "NoStream" })
        )
        yield* Effect.provide(client, KurrentClient.layer({ connectionString: uri }))
      }).pipe(Effect.scoped, Effect.withTracer(tracer))

      const recorded = new Set(all.map(({ name }) => generic(name)))
      assert.sameMembers([...recorded], documented)
    })
  )
})
