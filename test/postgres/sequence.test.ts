/**
 * The sequence of positions may be left in a wrong state: no event is recorded at a position that no reader looks at.
 */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Redacted } from "effect"
import { MultiStreamAppend, Position, StreamName, TrackedAppend, TransactionalAppend } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { newSchema, url } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { openLog } from "./support/openLog.ts"

const newStream = () => StreamName.StreamName.make(`Dog-${randomUUID()}`)

const newAppend = (count = 1) => ({ stream: newStream(), expected: "NoStream", events: storedEvents(count) }) as const

type Way = (log: Log) => Effect.Effect<Position.Position | undefined, unknown>

/** All ways in which an event is written to a log. */
const ways: Readonly<Record<string, Way>> = {
  "one event": ({ recorder }) => Effect.map(recorder.append(newAppend()), ({ position }) => position),
  "several events": ({ recorder }) => Effect.map(recorder.append(newAppend(3)), ({ position }) => position),
  "several streams": ({ services }) =>
    Effect.map(
      Context.get(services, MultiStreamAppend.MultiStreamAppend).append([newAppend(), newAppend(2)]),
      ({ position }) => position
    ),
  "with a tracking move": ({ services }) =>
    Effect.map(
      Context.get(services, TrackedAppend.TrackedAppend).append([newAppend()], {
        key: { projection: randomUUID(), version: 1, upstream: "u", slice: 0 },
        from: undefined,
        to: Position.Position.make(1n)
      }),
      ({ position }) => position
    ),
  "after work": ({ services }) =>
    Effect.map(
      Context.get(services, TransactionalAppend.TransactionalAppend).append({ appends: [newAppend(2)] }, Effect.void),
      ({ position }) => position
    ),
  "in a transaction of the user's": ({ recorder, sql }) =>
    sql.withTransaction(
      Effect.gen(function* () {
        yield* recorder.append(newAppend())
        return (yield* recorder.append(newAppend(2))).position
      })
    )
}

/** Rows that were loaded with their positions. */
const load = ({ sql }: Pick<Log, "sql">, schema: string, positions: ReadonlyArray<number>) =>
  Effect.forEach(positions, (position) =>
    sql.unsafe(
      `INSERT INTO "${schema}".stored_events VALUES (${position}, 'Cat-${position}', 0, gen_random_uuid(), 'Loaded', 1, 'json', '{}', NULL, '{}', 0)`
    )
  )

/** The state of a sequence, and the highest position that a reader has seen by then. */
interface Fault {
  readonly make: (log: Log, schema: string, sequence: string) => Effect.Effect<unknown, unknown>
  /** Whether only a repair by hand helps. */
  readonly isRefused?: boolean
}

const run = (statement: (sequence: string) => string): Fault["make"] =>
  Effect.fnUntraced(function* (log, _schema, sequence) {
    for (const way of ["one event", "several events"]) yield* ways[way]!(log)
    yield* log.sql.unsafe(statement(sequence))
  })

const faults: Readonly<Record<string, Fault>> = {
  "rows were loaded with their positions": { make: (log, schema) => load(log, schema, [10, 20, 30]) },
  "rows were loaded with positions far away": { make: (log, schema) => load(log, schema, [7, 5_000_000_000]) },
  "it was set back": { make: run((sequence) => `SELECT setval('${sequence}', 2)`) },
  "it is to give out the last position again": { make: run((sequence) => `SELECT setval('${sequence}', 4, false)`) },
  "it was restarted": { make: run((sequence) => `ALTER SEQUENCE ${sequence} RESTART`) },
  "somebody has drawn from it": { make: run((sequence) => `SELECT nextval('${sequence}')`) },
  "it goes by tens": { make: run((sequence) => `ALTER SEQUENCE ${sequence} INCREMENT BY 10`) },
  "it gives out several at once": { make: run((sequence) => `ALTER SEQUENCE ${sequence} CACHE 20`) },
  "it counts down": { make: run((sequence) => `ALTER SEQUENCE ${sequence} INCREMENT BY -1`), isRefused: true },
  "it counts down from the first": {
    make: (log, _schema, sequence) =>
      log.sql.unsafe(`ALTER SEQUENCE ${sequence} INCREMENT BY -1 MINVALUE -100 MAXVALUE 0 START WITH 0 RESTART`),
    isRefused: true
  },
  "it begins anew": {
    make: run((sequence) => `ALTER SEQUENCE ${sequence} MAXVALUE 5 CYCLE`),
    isRefused: true
  },
  "it is at its end": { make: run((sequence) => `ALTER SEQUENCE ${sequence} MAXVALUE 4`), isRefused: true },
  "it ends before what was loaded": {
    make: (log, schema, sequence) =>
      Effect.andThen(log.sql.unsafe(`ALTER SEQUENCE ${sequence} MAXVALUE 100`), load(log, schema, [200])),
    isRefused: true
  },
  "it begins below the first position": {
    make: (log, _schema, sequence) => log.sql.unsafe(`ALTER SEQUENCE ${sequence} MINVALUE -5 START WITH -5 RESTART`)
  }
}

/**
 * Appends in one of the ways, through two sessions in turns. Checks that a reader which has seen everything sees the
 * events; or that the append is refused with a statement that repairs the sequence, and succeeds after that was run.
 */
const check = Effect.fnUntraced(function* (
  how: string,
  schema: string,
  logs: ReadonlyArray<Log>,
  admin: Log["sql"],
  repairs: { count: number }
) {
  const way = ways[how]!
  let seen = (yield* logs[0]!.recorder.head) ?? 0n
  for (const log of [...logs, ...logs]) {
    const position = yield* way(log).pipe(
      Effect.catch((error) =>
        Effect.gen(function* () {
          const statement = / (ALTER SEQUENCE .*;)/.exec(String(error))?.[1]
          if (statement === undefined) return yield* Effect.fail(error)
          assert.deepInclude(error, { _tag: "RecorderFailure" })
          assert.strictEqual((yield* log.recorder.head) ?? 0n, seen as Position.Position)
          yield* admin.withTransaction(
            Effect.andThen(admin.unsafe(`SET LOCAL search_path TO "${schema}"`), admin.unsafe(statement))
          )
          repairs.count++
          return yield* way(log)
        })
      )
    )
    const read = yield* log.recorder.readAll({ after: seen as Position.Position, limit: 10 })
    assert.strictEqual(read.at(-1)?.position, position)
    assert.strictEqual(yield* log.recorder.head, position)
    assert.isAbove(Number(position), Number(seen))
    seen = position!
  }
})

describe.concurrent("G3 if the sequence is not where it should be", () => {
  for (const [what, { make, isRefused = false }] of Object.entries(faults)) {
    it.live(`because ${what}, an append is recorded where readers look, or refused with what repairs it`, () =>
      Effect.gen(function* () {
        const [schema, options] = [yield* newSchema, { client: { maxConnections: 1 } }]
        for (const how of Object.keys(ways)) {
          const logs = [yield* openLog(schema, options), yield* openLog(schema, options)]
          const repairs = { count: 0 }
          yield* make(logs[0]!, schema, `"${schema}".stored_events_position`)
          yield* check(how, schema, logs, logs[0]!.sql, repairs)
          assert.strictEqual(repairs.count > 0, isRefused, how)
          yield* logs[0]!.sql.unsafe(`DROP SCHEMA "${schema}" CASCADE`)
        }
      })
    )
  }

  it.live("a position that was seen is not used again, even if its event was removed", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const sequence = `"${schema}".stored_events_position`
      const changes = ["", `ALTER SEQUENCE ${sequence} CACHE 20`, `ALTER SEQUENCE ${sequence} INCREMENT BY 3 CACHE 7`]
      for (const change of changes) {
        const options = { client: { maxConnections: 1 } }
        const logs = [yield* openLog(schema, options), yield* openLog(schema, options), yield* openLog(schema, options)]
        const [{ sql }] = logs as [Log]
        if (change !== "") yield* sql.unsafe(change)
        yield* load({ sql }, schema, [10])
        let seen = 10n
        for (let n = 0; n < 12; n++) {
          for (const way of [ways["one event"]!, ways["several events"]!]) {
            const position = (yield* way(logs[n % 3]!))!
            assert.isAbove(Number(position), Number(seen), change)
            seen = position
            yield* sql.unsafe(`DELETE FROM "${schema}".stored_events WHERE position > 10`)
          }
        }
        yield* sql.unsafe(`DROP SCHEMA "${schema}" CASCADE`)
      }
    })
  )

  it.live("an append that shares a call with others is recorded where readers look", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* load(log, schema, [1_000_000])
      const appended = yield* Effect.forEach(Array.from({ length: 40 }), () => log.recorder.append(newAppend(2)), {
        concurrency: "unbounded"
      })
      const read = yield* log.recorder.readAll({ after: Position.Position.make(1_000_000n), limit: 100 })
      assert.lengthOf(read, 80)
      assert.strictEqual(new Set(appended.map(({ position }) => position)).size, 40)
    })
  )
})

describe.concurrent("G3 as a role that may only draw from the sequence", () => {
  /** Two logs of a schema, as a role with the rights of docs/postgres.md. */
  const limited = (schema: string, admin: Log): Effect.Effect<readonly [Log, Log], unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const role = `role_${randomUUID().replaceAll("-", "")}`
      const { sql } = admin
      yield* Effect.acquireRelease(sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`), () =>
        Effect.orDie(Effect.andThen(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
      )
      for (const grant of [
        `USAGE ON SCHEMA "${schema}"`,
        `SELECT ON "${schema}".stored_log`,
        `SELECT, INSERT ON "${schema}".stored_events`,
        `SELECT, INSERT, UPDATE ON "${schema}".stored_snapshots, "${schema}".stored_tracking`,
        `USAGE ON SEQUENCE "${schema}".stored_events_position`
      ]) {
        yield* sql.unsafe(`GRANT ${grant} TO ${role}`)
      }
      const its = new URL(url())
      its.username = role
      its.password = "secret"
      const client = { url: Redacted.make(its.href), maxConnections: 1 }
      return [yield* openLog(schema, { client }), yield* openLog(schema, { client })] as const
    })

  for (const [what, { make, isRefused = false }] of Object.entries(faults)) {
    it.live(`because ${what}, the same holds`, () =>
      Effect.gen(function* () {
        for (const how of ["one event", "several events"]) {
          const schema = yield* newSchema
          const admin = yield* openLog(schema)
          yield* make(admin, schema, `"${schema}".stored_events_position`)
          const repairs = { count: 0 }
          yield* check(how, schema, yield* limited(schema, admin), admin.sql, repairs)
          // it can't set the sequence, and draws from it only so often
          assert.strictEqual(repairs.count > 0, isRefused || what.includes("far away"), how)
        }
      })
    )
  }
})
