/** A log among many events of others, on a server that lets no statement search all of them. */
import { randomUUID } from "node:crypto"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Redacted, Stream, SubscriptionRef } from "effect"
import type { Position } from "effect-eventsourcing"
import { EventSourcing, EventStore, Projection, ProjectionRunner, Recorder } from "effect-eventsourcing"
import { count, makeJournal, readJournal } from "../projection/support/journalView.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import { Counter } from "../support/dog.ts"
import { layerLog, newSchema, url } from "./support/database.ts"
import { openLog } from "./support/openLog.ts"

/** This many events of others come before those of the log, and as many after them. */
const OTHERS = 25_000

/** How much a statement may search before the server cancels it, as it would after `statement_timeout`. */
const MOST = 12_000

/** A log, and a connection to it by a role whose statements are cancelled. */
const sparse = Effect.gen(function* () {
  const schema = yield* newSchema
  const { services, sql } = yield* openLog(schema)
  const own = Layer.provide(EventSourcing.layer(), Layer.succeedContext(services))
  const others = (first: number) =>
    sql.unsafe(`INSERT INTO ${schema}.stored_events
        (position, stream, version, id, type, schema_version, encoding, payload_text, metadata, recorded_at)
      SELECT nextval('${schema}.stored_events_position'), 'Other-' || n, 0, gen_random_uuid(), 'Other.Happened', 1,
        'json', '{}', '{}', 0
      FROM generate_series(${first}, ${first + OTHERS} - 1) AS n`)
  yield* others(0)
  const last = yield* Effect.provide(count("a", 3), [own, Layer.succeedContext(services)])
  yield* others(OTHERS)

  const role = `role_${randomUUID().replaceAll("-", "")}`
  yield* Effect.acquireRelease(sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`), () =>
    Effect.orDie(Effect.andThen(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
  )
  for (const statement of [
    `GRANT USAGE ON SCHEMA ${schema} TO ${role}`,
    `GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ${role}`,
    `CREATE FUNCTION ${schema}.look() RETURNS boolean LANGUAGE plpgsql COST 1 AS $look$
DECLARE
  statement text := extract(epoch FROM statement_timestamp())::text;
  looked integer := coalesce(nullif(current_setting('test.looked', true), ''), '0');
BEGIN
  IF current_setting('test.statement', true) IS DISTINCT FROM statement THEN
    PERFORM set_config('test.statement', statement, false);
    looked := 0;
  END IF;
  PERFORM set_config('test.looked', (looked + 1)::text, false);
  IF looked >= ${MOST} THEN
    RAISE EXCEPTION USING ERRCODE = '57014', MESSAGE = 'canceling statement due to statement timeout';
  END IF;
  RETURN true;
END $look$`,
    `ALTER TABLE ${schema}.stored_events ENABLE ROW LEVEL SECURITY`,
    `CREATE POLICY looking ON ${schema}.stored_events USING (${schema}.look())`
  ]) {
    yield* sql.unsafe(statement)
  }
  const address = new URL(url())
  address.username = role
  address.password = "secret"
  const limited = Layer.provideMerge(
    EventSourcing.layer(),
    layerLog(schema, { createTables: false, client: { url: Redacted.make(address.href) } })
  )
  return { last, limited, own }
})

it.live("is read and followed by statements that each scan a part of it", () =>
  Effect.gen(function* () {
    const { last, limited } = yield* sparse
    yield* Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const recorder = yield* Recorder.Recorder
      for (const direction of ["forward", "backward"] as const) {
        const versions = Stream.map(store.readAll([Counter], { direction }), ({ version }) => version)
        const all = direction === "forward" ? [0, 1, 2] : [2, 1, 0]
        assert.deepStrictEqual(yield* Stream.runCollect(versions), all)
        const filter = { categories: ["Counter"] }
        const one = yield* recorder.readAll({ direction, filter, limit: 1 })
        assert.deepStrictEqual(
          one.map(({ version }) => version),
          all.slice(0, 1)
        )
        const none = yield* recorder.readAll({ direction, filter: { types: ["None"] }, limit: 1 })
        assert.deepStrictEqual(none, [])
      }
      // a part of it alone
      const upTo = (last - 1n) as Position.Position
      const some = yield* recorder.readAll({ filter: { categories: ["Counter"] }, upTo, limit: 10 })
      assert.lengthOf(some, 2)

      const projection = makeJournal("memory")
      const runner = yield* ProjectionRunner.make(projection)
      const passed = yield* SubscriptionRef.changes(runner.state).pipe(
        Stream.takeUntil(({ _tag }) => _tag === "Live"),
        Stream.runCollect
      )
      const stopped = passed.flatMap((state) => (state._tag === "Retrying" || state._tag === "Stopped" ? [state] : []))
      assert.deepStrictEqual(stopped, [])
      assert.lengthOf(yield* readJournal(projection), 3)
      const head = yield* recorder.head
      yield* Projection.wait(projection, head)
    }).pipe(Effect.scoped, Effect.provide([limited, yield* kinds.memory.make, Logger.layer([])]))
  })
)

it.live("is followed in batches that report how far it was scanned", () =>
  Effect.gen(function* () {
    const { limited } = yield* sparse
    yield* Effect.gen(function* () {
      const recorder = yield* Recorder.Recorder
      const head = yield* recorder.head
      const batches = yield* recorder.follow({ filter: { categories: ["Counter"] } }).pipe(
        Stream.takeUntil(({ caughtUp }) => caughtUp),
        Stream.runCollect
      )
      assert.isAtLeast(batches.length, 5)
      const positions = batches.map(({ position }) => position ?? 0n)
      assert.deepStrictEqual(
        positions,
        [...new Set(positions)].toSorted((a, b) => (a < b ? -1 : 1))
      )
      assert.strictEqual(positions.at(-1), head)
      assert.lengthOf(
        batches.flatMap(({ notifications }) => notifications),
        3
      )
    }).pipe(Effect.provide(limited))
  })
)
