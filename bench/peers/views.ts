/** The view of the benchmark as a user of Emmett keeps it up on PostgreSQL, and beside it this library's. */
import { randomUUID } from "node:crypto"
import { rawSql, sql } from "@event-driven-io/dumbo"
import type { PostgresEventStore } from "@event-driven-io/emmett-postgresql"
import {
  postgreSQLEventStoreConsumer,
  postgreSQLProjector,
  postgreSQLRawSQLProjection
} from "@event-driven-io/emmett-postgresql"
import type { Scope } from "effect"
import { Effect } from "effect"
import type { Sides } from "../compare.ts"
import { fill } from "../fill.ts"
import { Order, orderIds } from "../order.ts"
import type { Timed } from "../timing.ts"
import { median, timed } from "../timing.ts"
import { appendItem } from "../views/appendItem.ts"
import type { Commits } from "../views/commits.ts"
import { makeCommits } from "../views/commits.ts"
import { postgres } from "../views/postgres.ts"
import { PAGE } from "../views/Site.ts"
import type { OrderEvent } from "./emmett.ts"
import { itemAdded } from "./emmett.ts"

/** What a round catches up with: few, since Emmett sends two statements for each event. */
const EVENTS = 10 * PAGE
const PER_ORDER = 500
const ORDERS = Math.ceil(EVENTS / PER_ORDER)

/** How many events are awaited one by one in a round: few, since Emmett looks for new ones once in a second. */
const AWAITED = 6

/** Emmett's consumer with a projection; what it commits is noted. Its table is dropped with the scope. */
const consumer = (url: string, after: bigint, commits: Commits): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const table = `counted_${randomUUID().replaceAll("-", "")}`
      const projector = postgreSQLProjector<OrderEvent>({
        processorId: table,
        startFrom: { lastCheckpoint: after },
        projection: postgreSQLRawSQLProjection<OrderEvent>({
          name: table,
          canHandle: ["Opened", "ItemAdded"],
          init: () => rawSql(`CREATE TABLE ${table} (sku text PRIMARY KEY, n integer NOT NULL)`),
          evolve: ({ data, type }) =>
            type === "Opened"
              ? []
              : sql(
                  `INSERT INTO ${table} (sku, n) VALUES (%L, 1) ON CONFLICT (sku) DO UPDATE SET n = ${table}.n + 1`,
                  data.sku
                )
        })
      })
      const { handle } = projector
      projector.handle = async (messages, context) => {
        const answer = await handle(messages, context)
        commits.note(Number(messages[messages.length - 1]?.metadata.globalPosition))
        return answer
      }
      // its own default is batches of a hundred, and a pause of 50 ms after each
      const pulling = { batchSize: PAGE, pullingFrequencyInMs: 0 }
      const made = postgreSQLEventStoreConsumer({ connectionString: url, processors: [projector as never], pulling })
      void made.start()
      return made
    }),
    (made) => Effect.promise(() => made.close())
  ).pipe(Effect.asVoid)

/** Catches up with a log, each its own. */
export const catchUp = (url: string, store: PostgresEventStore): Effect.Effect<Sides, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const site = yield* postgres(url).newSite
    yield* Effect.provide(fill(orderIds(ORDERS), PER_ORDER), site.services)
    const events = Array.from({ length: PER_ORDER }, (_, n) => itemAdded(n))
    const append = Effect.promise(() => store.appendToStream<OrderEvent>(`order-${randomUUID()}`, events))
    const after = (yield* append).lastEventGlobalPosition
    for (let n = 0; n < ORDERS; n++) yield* append
    let version = 0
    const measured = (run: (commits: Commits) => Effect.Effect<void, unknown, Scope.Scope>, last: number) =>
      Effect.suspend((): Effect.Effect<Timed, unknown> => {
        const commits = makeCommits()
        return Effect.scoped(timed(EVENTS, Effect.andThen(run(commits), commits.reached(last))))
      })
    return {
      ours: Effect.andThen(
        site.clean("singly"),
        measured((commits) => site.run("singly", ++version, commits), EVENTS)
      ),
      other: measured((commits) => consumer(url, after, commits), Number(after) + EVENTS)
    }
  })

/** From an append's answer until the view is committed, in seconds, one at a time: the medians of rounds. */
export const liveLatency = (
  url: string,
  store: PostgresEventStore
): Effect.Effect<Sides<number>, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const site = yield* postgres(url).newSite
    const id = Order.id(randomUUID())
    const append = yield* appendItem(site)
    const stream = `order-${randomUUID()}`
    let version = 0
    const appendToEmmett = Effect.promise(async () => {
      const { lastEventGlobalPosition } = await store.appendToStream<OrderEvent>(stream, [itemAdded(version++)])
      return { position: Number(lastEventGlobalPosition), at: performance.now() }
    })
    const awaited = (
      run: (commits: Commits, position: number) => Effect.Effect<void, unknown, Scope.Scope>,
      one: Effect.Effect<{ readonly position: number; readonly at: number }, unknown>
    ) =>
      Effect.gen(function* () {
        const commits = makeCommits()
        yield* run(commits, (yield* one).position)
        yield* commits.reached((yield* one).position)
        const took: Array<number> = []
        for (let n = 0; n < AWAITED; n++) {
          const { at, position } = yield* one
          took.push((yield* commits.reached(position)) - at)
        }
        return median(took) / 1000
      }).pipe(Effect.scoped)
    return {
      ours: awaited((commits) => site.run("singly", 1, commits), append(id)),
      other: awaited((commits, position) => consumer(url, BigInt(position), commits), appendToEmmett)
    }
  })
