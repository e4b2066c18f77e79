/**
 * What stands between an append and its table: triggers, rules, row-level security. Dropped events are not reported as
 * recorded.
 */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { MultiStreamAppend, Position, StreamName, TrackedAppend, TransactionalAppend } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { newSchema } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { openLog } from "./support/openLog.ts"

const newAppend = (name: string, count: number) =>
  ({
    stream: StreamName.StreamName.make(`${name}-${randomUUID()}`),
    expected: "NoStream",
    events: storedEvents(count)
  }) as const

const move = () => ({
  key: { projection: randomUUID(), version: 1, upstream: "u", slice: 0 },
  from: undefined,
  to: Position.Position.make(1n)
})

/** All ways in which events of a stream are written to a log. */
const ways: Readonly<Record<string, (log: Log, name: string) => Effect.Effect<unknown, unknown>>> = {
  "one event": ({ recorder }, name) => recorder.append(newAppend(name, 1)),
  "several events": ({ recorder }, name) => recorder.append(newAppend(name, 3)),
  "several streams": ({ services }, name) =>
    Context.get(services, MultiStreamAppend.MultiStreamAppend).append([newAppend("Dog", 1), newAppend(name, 2)]),
  "with a tracking move": ({ services }, name) =>
    Context.get(services, TrackedAppend.TrackedAppend).append([newAppend(name, 1)], move()),
  "after work": ({ services }, name) =>
    Context.get(services, TransactionalAppend.TransactionalAppend).append(
      { appends: [newAppend(name, 1)] },
      Effect.void
    ),
  "in a transaction of the user's": ({ recorder, sql }, name) =>
    sql.withTransaction(
      Effect.gen(function* () {
        yield* recorder.append(newAppend(name, 1))
      })
    )
}

const trigger = (moment: string, body: string) => (s: string) => [
  `CREATE FUNCTION ${s}.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} END $$`,
  `CREATE TRIGGER meddle ${moment} INSERT ON ${s}.stored_events FOR EACH ROW WHEN (NEW.stream LIKE 'Cat-%')
    EXECUTE FUNCTION ${s}.meddle()`
]
const changing = (column: string, value: string) => trigger("BEFORE", `NEW.${column} := ${value}; RETURN NEW;`)

const meddlers: Readonly<Record<string, (s: string) => ReadonlyArray<string>>> = {
  "a trigger that drops the row": trigger("BEFORE", "RETURN NULL;"),
  "a trigger that removes the row": trigger(
    "AFTER",
    "EXECUTE format('DELETE FROM %I.stored_events WHERE id = $1', TG_TABLE_SCHEMA) USING NEW.id; RETURN NULL;"
  ),
  "a trigger that drops the last row of several": trigger(
    "BEFORE",
    "IF NEW.version = 0 AND NEW.type <> 'x' THEN RETURN NULL; END IF; RETURN NEW;"
  ),
  "a trigger that changes the stream": changing("stream", "NEW.stream || 'x'"),
  "a trigger that changes the version": changing("version", "NEW.version + 7"),
  "a trigger that changes the id": changing("id", "gen_random_uuid()"),
  "a trigger that changes the position": changing("position", "NEW.position + 1000000"),
  "a trigger that changes the type": changing("type", "'Other'"),
  "a trigger that changes the payload": changing("payload_text", "'{}'"),
  "a rule that does nothing": (s) => [
    `CREATE RULE meddle AS ON INSERT TO ${s}.stored_events WHERE NEW.stream LIKE 'Cat-%' DO INSTEAD NOTHING`
  ],
  "row-level security": (s) => [
    `ALTER TABLE ${s}.stored_events ENABLE ROW LEVEL SECURITY`,
    `CREATE POLICY meddle ON ${s}.stored_events USING (stream NOT LIKE 'Cat-%')`
  ],
  "row-level security that hides what was inserted": (s) => [
    `ALTER TABLE ${s}.stored_events ENABLE ROW LEVEL SECURITY`,
    `CREATE POLICY inserting ON ${s}.stored_events FOR INSERT WITH CHECK (true)`,
    `CREATE POLICY selecting ON ${s}.stored_events FOR SELECT USING (stream NOT LIKE 'Cat-%')`
  ]
}

describe.concurrent("G1 an event that the database drops or changes", () => {
  for (const [what, statements] of Object.entries(meddlers)) {
    it.live(`by ${what} fails its append, and nothing of it is recorded`, () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const s = `"${schema}"`
        const admin = yield* openLog(schema)
        for (const statement of statements(s)) yield* admin.sql.unsafe(statement)
        const isRule = what.startsWith("a rule")
        let log = admin
        if (what.startsWith("row-level")) {
          // row-level security does not apply to the owner, nor to a superuser
          const role = `role_${randomUUID().replaceAll("-", "")}`
          yield* Effect.acquireRelease(admin.sql.unsafe(`CREATE ROLE ${role}`), () =>
            Effect.orDie(
              Effect.andThen(admin.sql.unsafe(`DROP OWNED BY ${role}`), admin.sql.unsafe(`DROP ROLE ${role}`))
            )
          )
          yield* admin.sql.unsafe(`GRANT USAGE ON SCHEMA ${s} TO ${role}`)
          yield* admin.sql.unsafe(`GRANT ALL ON ALL TABLES IN SCHEMA ${s} TO ${role}`)
          yield* admin.sql.unsafe(`GRANT ALL ON ALL SEQUENCES IN SCHEMA ${s} TO ${role}`)
          log = yield* openLog(schema, { client: { startupOptions: `-c role=${role}` } })
        }
        for (const [how, way] of Object.entries(ways)) {
          const before = yield* admin.recorder.readAll({ limit: 1000 })
          const error = yield* Effect.flip(way(log, "Cat"))
          assert.deepInclude(error, { _tag: "RecorderFailure" }, how)
          assert.match(String(error), /trigger|rule|row-level security/i, how)
          assert.deepStrictEqual(yield* admin.recorder.readAll({ limit: 1000 }), before, how)
          const tracked = yield* admin.sql.unsafe(`SELECT 1 FROM ${s}.stored_tracking`)
          assert.deepStrictEqual(tracked, [], how)
          // appends that nothing interferes with still work
          if (!isRule) yield* ways["one event"]!(log, "Dog")
          yield* ways["several events"]!(log, "Dog")
        }
        // one of those that share a call fails
        const outcomes = yield* Effect.forEach(
          [1, 2, 3, 4, 5, 6],
          (n) => Effect.exit(log.recorder.append(newAppend(n === 4 ? "Cat" : "Dog", 2))),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          outcomes.map(({ _tag }) => _tag),
          ["Success", "Success", "Success", "Failure", "Success", "Success"]
        )
      })
    )
  }

  it.live("does not matter if only metadata or the time is changed", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      for (const statement of trigger(
        "BEFORE",
        `NEW.metadata := '{"by":"trigger"}'; NEW.recorded_at := 42; RETURN NEW;`
      )(`"${schema}"`)) {
        yield* log.sql.unsafe(statement)
      }
      for (const way of Object.values(ways)) yield* way(log, "Cat")
      for (const event of yield* log.recorder.readAll({ limit: 100 })) {
        if (event.stream.startsWith("Cat-")) assert.deepInclude(event, { metadata: '{"by":"trigger"}', recordedAt: 42 })
      }
    })
  )

  it.live("a tracking move that is prevented fails the append", () =>
    Effect.gen(function* () {
      for (const body of ["RETURN NULL;", "NEW.position := 7; RETURN NEW;"]) {
        const schema = yield* newSchema
        const log = yield* openLog(schema)
        const s = `"${schema}"`
        yield* log.sql.unsafe(
          `CREATE FUNCTION ${s}.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} END $$`
        )
        yield* log.sql.unsafe(
          `CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON ${s}.stored_tracking FOR EACH ROW EXECUTE FUNCTION ${s}.meddle()`
        )
        const tracked = Context.get(log.services, TrackedAppend.TrackedAppend)
        for (const events of [0, 1]) {
          const appends = events === 0 ? [] : [newAppend("Dog", 1)]
          const error = yield* Effect.flip(tracked.append(appends, move()))
          assert.deepInclude(error, { _tag: "RecorderFailure" })
          assert.include(String(error), "tracking")
        }
        assert.deepStrictEqual(yield* log.recorder.readAll({ limit: 10 }), [])
        assert.deepStrictEqual(yield* log.sql.unsafe(`SELECT 1 FROM ${s}.stored_tracking`), [])
      }
    })
  )
})
