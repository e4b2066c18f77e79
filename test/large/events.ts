/**
 * Large events are followed while they are recorded, and caught up on afterwards, by everything that reads.
 *
 * Run it with a limit of the heap: it ends with code 0 if that was enough. `npm run test:large` records 10,000 events
 * of 1 MB (10 GB on the disk of the temporary directory, and some minutes) with a heap of 256 MB.
 *
 * Arguments: how many events, their bytes, and optionally the options `pageBytes` and `tailBytes`.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { Deferred, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { Aggregate, EventStore, Projection, ProjectionRunner, Repository, Subscription } from "effect-eventsourcing"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"

const [events = 10_000, bytes = 2 ** 20, pageBytes, tailBytes] = process.argv.slice(2).map(Number)

const Document = Aggregate.make("Document", {
  state: Schema.Int,
  creation: { Opened: {} },
  events: { Scanned: { page: Schema.String } },
  reduce: { Opened: () => 0, Scanned: (pages) => pages + 1 }
})

const Other = Aggregate.make("Other", {
  state: Schema.Int,
  creation: { Made: {} },
  events: {},
  reduce: { Made: () => 0 }
})

const pages = (name: string) =>
  Projection.make(name, {
    aggregates: [Document],
    view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("pages")} (length integer NOT NULL)`),
    handlers: {
      Document: {
        Opened: Projection.ignore,
        Scanned: ({ event }, { sql, table }) => sql`INSERT INTO ${table("pages")} VALUES (${event.page.length})`
      }
    }
  })

const quiet = Projection.make("quiet", {
  aggregates: [Other],
  view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("others")} (n integer)`),
  handlers: { Other: { Made: Projection.ignore } }
})

const say = (what: string) =>
  Effect.sync(() => {
    const { heapUsed, rss } = process.memoryUsage()
    console.log(`${what}: heap ${Math.round(heapUsed / 1e6)} MB, resident ${Math.round(rss / 1e6)} MB`)
  })

/** Fails unless a stream has all the events. */
const takeAll = <E, R>(what: string, stream: Stream.Stream<{ readonly version: number }, E, R>) =>
  Effect.gen(function* () {
    let next = 0
    yield* stream.pipe(
      Stream.take(events + 1),
      Stream.runForEach(({ version }) => Effect.sync(() => (version === next ? next++ : undefined)))
    )
    if (next !== events + 1) return yield* Effect.die(new Error(`${what} brought ${next} of ${events + 1} events`))
    yield* say(what)
  })

const program = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const id = Document.id("1")
  const live = yield* Deferred.make<void>()
  const onState = ({ _tag }: { readonly _tag: string }) =>
    _tag === "Live" ? Effect.asVoid(Deferred.succeed(live, undefined)) : Effect.void
  const following = yield* Effect.forkScoped(takeAll("followed live", Subscription.all([Document], { onState })))
  yield* ProjectionRunner.make(pages("live"))
  yield* ProjectionRunner.make(quiet)
  yield* Deferred.await(live)

  let last = yield* store.append(Document, id, { expected: "NoStream", events: [Document.Opened()] })
  for (let i = 0; i < events; i++) {
    const page = String(i).padEnd(bytes, "x")
    last = yield* store.append(Document, id, { expected: i, events: [Document.Scanned({ page })] })
  }
  yield* say(`recorded ${events} events of ${bytes} bytes`)
  yield* Fiber.join(following)
  const position = last?.position
  if (position === undefined) return yield* Effect.die(new Error("nothing was recorded"))
  yield* Projection.wait(pages("live"), position, { timeout: "10 minutes" })
  yield* say("projected live")

  yield* takeAll("caught up by a subscription", Subscription.all([Document]))
  yield* takeAll("caught up by a subscription of one stream", Subscription.stream(Document, id))
  yield* takeAll("read as a stream", store.read(Document, id))
  yield* takeAll("read in the total order", store.readAll([Document]))
  yield* ProjectionRunner.make(pages("late"))
  yield* Projection.wait(pages("late"), position, { timeout: "10 minutes" })
  yield* say("caught up by a projection")
}).pipe(Effect.scoped)

const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "large-events-"))
process.on("exit", () => Fs.rmSync(directory, { recursive: true, force: true }))
const filename = Path.join(directory, "log.db")
const database = { filename, synchronous: "normal" } as const
await Effect.runPromise(
  Effect.gen(function* () {
    yield* program
    // with an empty cache
    yield* Effect.flatMap(Repository.of(Document), (documents) => documents.get(Document.id("1")))
    yield* say("rebuilt")
  }).pipe(Effect.provide(Layer.merge(SqliteLayer({ ...database, pageBytes, tailBytes }), SqliteViews(database))))
)
