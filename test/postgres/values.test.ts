/** What PostgreSQL and its driver do with values: large, odd and refused ones, and settings that interfere. */
import { createHash, randomBytes, randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { PgTypes } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Context, Effect, Exit, Layer, Result } from "effect"
import type { StoredEvent } from "effect-eventsourcing"
import { MultiStreamAppend, Position, Recorder, StreamName, TrackedAppend } from "effect-eventsourcing"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { storedEvent, storedEvents } from "effect-eventsourcing/testing/backend"
import { newSchema, url } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { hold, openLog, watch } from "./support/openLog.ts"

const name = (of: string) => StreamName.StreamName.make(`Dog-${of}`)

const digest = (payload: string | Uint8Array) => createHash("sha256").update(payload).digest("hex")

type Events = Recorder.Append["events"]

/** Appends new streams all at once, as a program with many fibers does; returns the outcome of each, by its name. */
const appendAtOnce = ({ recorder }: Log, appends: ReadonlyArray<readonly [stream: string, events: Events]>) =>
  Effect.map(
    Effect.forEach(
      appends,
      ([stream, events]) => Effect.exit(recorder.append({ stream: name(stream), expected: "NoStream", events })),
      { concurrency: "unbounded" }
    ),
    (exits) => new Map(exits.map((exit, i) => [appends[i]?.[0] as string, exit]))
  )

/** Valid appends. */
const sound = (count: number) =>
  Array.from({ length: count }, (_, n) => [`sound-${n}`, storedEvents(1 + (n % 3))] as const)

const failureOf = (exit: Exit.Exit<unknown, unknown> | undefined) =>
  Effect.flip(exit ?? Effect.die(new Error("there is no such append")))

/** The streams of the log, with the number of events of each. */
const counts = ({ recorder }: Log) =>
  Effect.map(recorder.readAll({ limit: 10_000 }), (events) => {
    const found: Record<string, number> = {}
    for (const { stream } of events) found[stream] = (found[stream] ?? 0) + 1
    return found
  })

const countsOf = (appends: ReadonlyArray<readonly [stream: string, events: Events]>) =>
  Object.fromEntries(appends.map(([stream, events]) => [name(stream), events.length]))

describe("large values", () => {
  it.live("payloads of 16 MiB, text and bytes, come back unchanged", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const services = yield* Layer.build(PostgresLayer({ url: url(), schema }))
      const recorder = Context.get(services, Recorder.Recorder)
      const size = 16 * 2 ** 20
      const stream = name("large")
      const payloads = [
        randomBytes((size * 3) / 4).toString("base64"),
        new Uint8Array(randomBytes(size)),
        "ü".repeat(size)
      ]
      const events = payloads.map((payload) => storedEvent({ payload }))
      // each alone, then together
      for (const [i, event] of events.entries()) {
        yield* recorder.append({ stream, expected: i === 0 ? "NoStream" : i - 1, events: [event] })
      }
      const [first, ...rest] = payloads.map((payload) => storedEvent({ payload }))
      yield* recorder.append({ stream, expected: 2, events: [first as StoredEvent.StoredEvent, ...rest] })
      const read = yield* recorder.readStream({ stream, limit: 10 })
      assert.deepStrictEqual(
        read.map(({ payload }) => [typeof payload, payload.length, digest(payload)]),
        [...payloads, ...payloads].map((payload) => [typeof payload, payload.length, digest(payload)])
      )
    })
  )

  it.live("G1 10,000 events are appended together, to one stream or several, or not at all", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      const { recorder, services } = log
      const seen = yield* watch(recorder)
      const events = storedEvents(10_000)
      assert.strictEqual((yield* recorder.append({ stream: name("a"), expected: "NoStream", events })).version, 9999)
      // the same events again, and then with one that is recorded elsewhere
      assert.strictEqual((yield* recorder.append({ stream: name("a"), expected: "NoStream", events })).version, 9999)
      const wrong = [...storedEvents(9_999), events[5_000] as StoredEvent.StoredEvent] as unknown as Events
      const error = yield* Effect.flip(recorder.append({ stream: name("b"), expected: "NoStream", events: wrong }))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      const several = Arr.makeBy(100, (n) => ({
        ...{ stream: name(`several-${n}`), expected: "NoStream" as const, events: storedEvents(100) }
      }))
      yield* Context.get(services, MultiStreamAppend.MultiStreamAppend).append(several)
      yield* seen.until(20_000)
      assert.strictEqual(seen.events[9_999], "Dog-a@9999")
      assert.strictEqual(seen.events[10_000], "Dog-several-0@0")
      assert.strictEqual(seen.events.at(-1), "Dog-several-99@99")
      const read = yield* recorder.readStream({ stream: name("a"), limit: 20_000 })
      assert.deepStrictEqual(
        read.map(({ id }) => id),
        events.map(({ id }) => id)
      )
    })
  )

  it.live("a row larger than the client's maxMessageSize fails the read, with an error that says so", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* log.append("Dog-small")
      yield* log.recorder.append({
        ...{ stream: name("large"), expected: "NoStream" },
        events: [storedEvent({ payload: "x".repeat(200_000) })]
      })
      const small = yield* openLog(schema, { client: { maxMessageSize: 100_000 } })
      const error = yield* Effect.flip(small.recorder.readStream({ stream: name("large"), limit: 10 }))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.match(error.message, /maxMessageSize/)
      // the others are read, and the connections still work
      assert.lengthOf(yield* small.recorder.readStream({ stream: name("small"), limit: 10 }), 1)
      yield* small.append("Dog-small")
    })
  )
})

describe("values that are refused", () => {
  it.live("text that PostgreSQL can't store fails its own append, which is named, and no other", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      const odd = (fields: Partial<StoredEvent.StoredEvent>): Events => [...storedEvents(2), storedEvent(fields)]
      const wrong: ReadonlyArray<readonly [stream: string, events: Events]> = [
        ["payload-nul", odd({ payload: '{"a":"\0"}' })],
        ["payload-half", odd({ payload: "half \ud83e" })],
        ["payload-other-half", odd({ payload: "\udd95 half" })],
        ["metadata-nul", odd({ metadata: '{"a":"\0"}' })],
        ["metadata-half", odd({ metadata: '{"a":"\ud83e"}' })],
        ["type-nul", odd({ type: "Dog.\0" })],
        ["type-half", odd({ type: "Dog.\udd95" })],
        ["encoding-nul", odd({ encoding: "json\0" })],
        ["encoding-half", odd({ encoding: "\ud83ejson" })]
      ]
      const right = sound(20)
      const exits = yield* appendAtOnce(log, [...right.slice(0, 10), ...wrong, ...right.slice(10)])
      for (const [stream, events] of wrong) {
        const error = yield* failureOf(exits.get(stream))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), String(events.at(-1)?.id), stream)
        assert.include(String(error), `the ${stream.split("-")[0]}`)
      }
      assert.deepStrictEqual(yield* counts(log), countsOf(right))
      // escaped, or as bytes, everything is recorded unchanged
      const fine = ['{"a":"\\u0000\\ud83e"}', new Uint8Array([0, 0xd8, 0x3e, 0xff]), "🦕 \u0001\u007f\ufffe\uffff"]
      for (const payload of fine) {
        const stream = name(randomUUID())
        yield* log.recorder.append({ stream, expected: "NoStream", events: [storedEvent({ payload })] })
        assert.deepStrictEqual((yield* log.recorder.readStream({ stream, limit: 1 }))[0]?.payload, payload)
      }
    })
  )

  it.live("an id that is not a lower-case UUID fails its own append, which is named, and no other", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      const ids = [
        "",
        "no uuid",
        randomUUID().toUpperCase().replace(/^./, "A"),
        randomUUID().replaceAll("-", ""),
        `{${randomUUID()}}`,
        `${randomUUID()}\n`,
        `urn:uuid:${randomUUID()}`
      ]
      const wrong = ids.map((id, n) => [`wrong-${n}`, [storedEvent({ id })] as Events] as const)
      const right = sound(10)
      const exits = yield* appendAtOnce(log, [...wrong, ...right])
      for (const [stream, [{ id }]] of wrong) {
        const error = yield* failureOf(exits.get(stream))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), `"${id}"`)
      }
      assert.deepStrictEqual(yield* counts(log), countsOf(right))
    })
  )

  it.live("an id that is recorded in another stream fails its own append, which is named, and no other", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      const recorded = storedEvents(2)
      yield* log.recorder.append({ stream: name("first"), expected: "NoStream", events: recorded })
      const wrong: ReadonlyArray<readonly [stream: string, events: Events]> = [
        ["wrong-0", [recorded[0]]],
        ["wrong-1", [...storedEvents(2), recorded[1] as StoredEvent.StoredEvent]],
        ["wrong-2", [recorded[0]]]
      ]
      const right = sound(40)
      const exits = yield* appendAtOnce(log, [...right.slice(0, 13), ...wrong, ...right.slice(13)])
      for (const [stream, events] of wrong) {
        const error = yield* failureOf(exits.get(stream))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), String(events.at(-1)?.id))
      }
      const failed = [...exits].filter(([, exit]) => Exit.isFailure(exit)).map(([stream]) => stream)
      assert.sameMembers(
        failed,
        wrong.map(([stream]) => stream)
      )
      assert.deepStrictEqual(yield* counts(log), { ...countsOf(right), "Dog-first": 2 })
    })
  )

  it.live("of a new id in two concurrent appends one is recorded, and of one twice in one append none", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      for (let round = 0; round < 10; round++) {
        const [event] = storedEvents(1)
        const right = sound(10).map(([stream, events]) => [`${stream}-${round}`, events] as const)
        const appends: ReadonlyArray<readonly [stream: string, events: Events]> = [
          ...right.slice(0, 3),
          [`once-${round}`, [event]],
          ...right.slice(3),
          [`twice-${round}`, [...storedEvents(1), event]],
          [`itself-${round}`, [...storedEvents(1), ...Array.from({ length: 2 }, () => storedEvent({ id: event.id }))]]
        ]
        const exits = yield* appendAtOnce(log, appends)
        const failed = [...exits].filter(([, exit]) => Exit.isFailure(exit)).map(([stream]) => stream)
        assert.lengthOf(failed, 2)
        assert.include(failed, `itself-${round}`)
        for (const stream of failed) {
          const error = yield* failureOf(exits.get(stream))
          assert.deepInclude(error, { _tag: "RecorderFailure" })
          assert.include(String(error), event.id)
        }
        const found = yield* counts(log)
        for (const [stream, events] of appends) {
          assert.strictEqual(found[name(stream)], failed.includes(stream) ? undefined : events.length, stream)
        }
      }
    })
  )

  it.live(
    "G6 the names of a tracking key are not mistaken for others: text that PostgreSQL can't store is refused",
    () =>
      Effect.gen(function* () {
        const log = yield* openLog(yield* newSchema)
        const tracked = Context.get(log.services, TrackedAppend.TrackedAppend)
        const to = Position.Position.make(1n)
        const keyOf = (projection: string, upstream = "u") => ({ projection, upstream, version: 1, slice: 0 })
        yield* tracked.append([], { key: keyOf("\ufffd", "\ufffd"), from: undefined, to })
        for (const key of [keyOf("\ud83e", "\ufffd"), keyOf("\ufffd", "\udd95"), keyOf("nul\0"), keyOf("p", "nul\0")]) {
          const error = yield* Effect.flip(tracked.append([], { key, from: undefined, to }))
          assert.deepInclude(error, { _tag: "RecorderFailure" })
          const unread = yield* Effect.exit(tracked.position(key))
          assert.isTrue(Exit.isFailure(unread) || unread.value === undefined, JSON.stringify(key))
        }
      })
  )
})

describe("payloads in SQL", () => {
  it.live("the documented query finds values in payloads, also beside NUL and half of a surrogate pair", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const tricks = [
        "roll over",
        "a\0b",
        "half \ud83e",
        "\udd95 other",
        "whole 🦕",
        "text \\u0000 \\ud83e",
        'quote " \\'
      ]
      yield* log.recorder.append({
        stream: name("a"),
        expected: "NoStream",
        events: Arr.map(tricks as [string, ...Array<string>], (trick) =>
          storedEvent({ payload: JSON.stringify({ "\0": "\ud83e", trick }) })
        )
      })
      const text = Fs.readFileSync(new URL("../../docs/postgres.md", import.meta.url), "utf8")
      const [, sql = ""] = /```sql\n(SELECT[^`]*payload_text[^`]*)```/.exec(text) ?? []
      const rows = yield* log.sql.unsafe<{ trick: string }>(sql.replaceAll(/\borders\b/g, `"${schema}"`))
      assert.deepStrictEqual(rows.map(({ trick }) => trick).reverse(), [
        ...["roll over", "a\ufffdb", "half \ufffd", "\ufffd other", "whole 🦕", "text \\ufffd \\ufffd", 'quote " \\']
      ])
    })
  )

  it.live("a JSON payload can be queried as JSON, and is unchanged byte for byte", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const payload = '{ "trick" : "sit \\u00fc", "trick":"roll over 🦕", "n": 1.00 }'
      yield* log.recorder.append({
        ...{ stream: name("a"), expected: "NoStream" },
        events: [storedEvent({ payload }), storedEvent({ payload: new Uint8Array([1, 2]), encoding: "json+zlib" })]
      })
      const rows = yield* log.sql`
        SELECT payload_text::jsonb ->> 'trick' AS trick, payload_text AS text, encode(payload_bytes, 'hex') AS bytes,
          metadata::jsonb AS metadata, to_timestamp(recorded_at / 1000.0)::text AS recorded
        FROM ${log.sql(schema)}.stored_events ORDER BY position`
      assert.deepInclude(rows[0], { trick: "roll over 🦕", text: payload, bytes: null, metadata: {} })
      assert.match(String(rows[0]?.recorded), /^2023-11-1/)
      assert.deepInclude(rows[1], { trick: null, text: null, bytes: "0102" })
    })
  )
})

describe("clients with settings of their own", () => {
  const camel = (text: string) => text.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  const snake = (text: string) => text.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

  /** Decodes int8 as a number, as many programs do. */
  const numbers = PgTypes.makeRegistry()
  numbers.register<number | bigint>(PgTypes.OID.int8, {
    encode: (value) => {
      const bytes = new Uint8Array(8)
      new DataView(bytes.buffer).setBigInt64(0, BigInt(value))
      return Result.succeed(bytes)
    },
    decode: (bytes) => Result.succeed(Number(new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0)))
  })

  const clients = {
    "that make names camel case": { transformResultNames: camel, transformQueryNames: snake, transformJson: true },
    "that decode int8 as a number": { types: numbers },
    "that prepare nothing": { prepare: false },
    "that pipeline": { multiplex: true, maxConnections: 1 },
    "whose sessions have settings of their own": {
      startupOptions: [
        ...["search_path=", "standard_conforming_strings=off", "bytea_output=escape", "array_nulls=off"],
        ...["transform_null_equals=on", "DateStyle=SQL,DMY", "TimeZone=Asia/Kolkata", "IntervalStyle=iso_8601"],
        ...["plpgsql.variable_conflict=use_column", "plpgsql.extra_errors=all", "check_function_bodies=off"],
        ...["plan_cache_mode=force_generic_plan", "row_security=off", "quote_all_identifiers=on"]
      ]
        .map((setting) => `-c ${setting}`)
        .join(" ")
    }
  }
  for (const [which, client] of Object.entries(clients)) {
    it.live(`clients ${which} work like any other`, () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const log = yield* openLog(schema, { client })
        const plain = yield* openLog(schema)
        const seen = yield* watch(log.recorder)
        const appends = sound(20)
        yield* appendAtOnce(log, appends)
        const append = { stream: name("a"), expected: "NoStream", events: storedEvents(3) } as const
        const answer = yield* log.recorder.append(append)
        // sent again, alone and along with others
        assert.deepStrictEqual(yield* log.recorder.append(append), answer)
        const again = yield* appendAtOnce(log, [...appends, ["a", append.events]])
        for (const exit of again.values()) assert.isTrue(Exit.isSuccess(exit))
        const conflict = yield* Effect.flip(log.recorder.append({ ...append, events: storedEvents(1) }))
        assert.deepInclude(conflict, { _tag: "WrongExpectedVersion", actual: 2 })
        const tracked = Context.get(log.services, TrackedAppend.TrackedAppend)
        const key = { projection: "p", version: 1, upstream: "u", slice: 0 }
        yield* tracked.append([], { key, from: undefined, to: answer.position })
        assert.strictEqual(yield* tracked.position(key), answer.position)
        assert.deepStrictEqual(
          yield* log.recorder.readAll({ limit: 100 }),
          yield* plain.recorder.readAll({ limit: 100 })
        )
        assert.strictEqual(yield* log.recorder.head, yield* plain.recorder.head)
        yield* plain.append("Dog-b")
        yield* seen.until(Object.values(countsOf(appends)).reduce((a, b) => a + b, 4))
        yield* log.sql.withTransaction(log.append("Dog-b"))
      })
    )
  }
})

describe("refusals of the server", () => {
  it.live("a read-only session: appends fail with an error that says so, and reads work", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const client = { startupOptions: "-c default_transaction_read_only=on" }
      const unmade = yield* Effect.flip(openLog(schema, { client }))
      assert.deepInclude(unmade, { _tag: "RecorderFailure" })
      assert.include(String(unmade), "read-only")
      yield* (yield* openLog(schema)).append("Dog-a")
      const log = yield* openLog(schema, { client })
      for (const count of [1, 2]) {
        const error = yield* Effect.flip(log.append("Dog-a", count))
        // a server is read-only for a moment when another takes its place: a layer that has worked waits for that
        assert.deepInclude(error, { _tag: "RecorderUnavailable" })
        assert.include(String(error), "read-only")
      }
      assert.lengthOf(yield* log.recorder.readAll({ limit: 10 }), 1)
    })
  )

  it.live("a table or a function that was removed: a failure that says so", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* log.append("Dog-a")
      const append = (count: number) =>
        log.recorder.append({ stream: name("b"), expected: "NoStream", events: storedEvents(count) })
      yield* log.sql`ALTER FUNCTION ${log.sql(schema)}.append_events RENAME TO gone`
      const noFunction = yield* Effect.flip(append(2))
      assert.deepInclude(noFunction, { _tag: "RecorderFailure" })
      assert.include(String(noFunction), "a function is missing")
      yield* log.sql`DROP TABLE ${log.sql(schema)}.stored_events CASCADE`
      for (const error of [
        yield* Effect.flip(append(1)),
        yield* Effect.flip(log.recorder.readAll({ limit: 1 })),
        yield* Effect.flip(log.recorder.head)
      ]) {
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), "a table is missing")
      }
    })
  )

  it.live("a statement_timeout: unavailable, and recorded later once", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      const log = yield* openLog(schema, {
        lockTimeout: "30 seconds",
        client: { startupOptions: "-c statement_timeout=50" }
      })
      const held = yield* hold(mine, mine.append("Dog-held"))
      const append = { stream: name("a"), expected: "NoStream", events: storedEvents(2) } as const
      const error = yield* Effect.flip(log.recorder.append(append))
      assert.deepInclude(error, { _tag: "RecorderUnavailable" })
      assert.include(String(error), "statement timeout")
      yield* held.commit
      yield* log.recorder.append(append)
      assert.deepStrictEqual(yield* counts(log), { "Dog-held": 1, "Dog-a": 2 })
    })
  )
})
