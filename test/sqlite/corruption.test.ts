/** Rows and pages that were damaged: each is a typed error, nothing is skipped, and intact data stay readable (G8). */
import * as Fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { EventSourcingError } from "effect-eventsourcing"
import { EventStore, Recorder, Repository } from "effect-eventsourcing"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Account, deposit } from "./support/account.ts"
import { append, event } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import * as Temporary from "./support/temporaryFile.ts"

const ada = Account.id("ada")
const bob = Account.id("bob")
const stream = Account.stream(ada)

/** A log with three events of ada's account, at the positions 1 to 3, and two of bob's. */
const recordAccounts = (filename: string) =>
  Effect.gen(function* () {
    const accounts = yield* Repository.of(Account)
    yield* accounts.execute(ada, Account.Opened({ owner: "ada" }))
    yield* accounts.execute(ada, deposit(10, "ada"))
    yield* accounts.execute(ada, deposit(20, "ada"))
    yield* accounts.execute(bob, Account.Opened({ owner: "bob" }))
    yield* accounts.execute(bob, deposit(1, "bob"))
  }).pipe(Effect.provide(SqliteLayer({ filename })))

/** Ways to read ada's account, each in a process with an empty cache. */
const ways: Readonly<
  Record<
    "get" | "decide" | "read" | "read all",
    Effect.Effect<
      void,
      EventSourcingError.ReadError | EventSourcingError.AppendError | EventSourcingError.AggregateNotFound,
      EventStore.EventStore | Repository.Repository
    >
  >
> = {
  get: Effect.flatMap(Repository.of(Account), (accounts) => Effect.asVoid(accounts.get(ada))),
  decide: Effect.flatMap(Repository.of(Account), (accounts) => Effect.asVoid(accounts.execute(ada, deposit(1, "ada")))),
  read: EventStore.EventStore.use((store) => Stream.runDrain(store.read(Account, ada))),
  "read all": EventStore.EventStore.use((store) => Stream.runDrain(store.readAll([Account])))
}
type Way = keyof typeof ways
const everyWay: ReadonlyArray<Way> = ["get", "decide", "read", "read all"]
/** The ways that return the metadata; rebuilding a state does not need them. */
const withMetadata: ReadonlyArray<Way> = ["read", "read all"]
const rebuilding: ReadonlyArray<Way> = ["get", "decide"]

const at = `stream = '${stream}' AND version = `

interface Damage {
  readonly sql: string
  readonly tag: string
  readonly message: RegExp
  readonly ways?: ReadonlyArray<Way>
}

const set = (assignment: string, version = 1) => `UPDATE stored_events SET ${assignment} WHERE ${at} ${version}`

const place = String.raw`event 1 of stream "${stream}" \(Account\.Deposited\)`

const damages: Readonly<Record<string, Damage>> = {
  "a payload that is no JSON": {
    sql: set("payload = '{'"),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded`)
  },
  "a payload of other fields": {
    sql: set(`payload = '{"total":7}'`),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded`)
  },
  "a payload of other bytes": {
    sql: set("payload = x'00ff'"),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded`)
  },
  "a payload that is a number": {
    sql: set("payload = 42"),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded`)
  },
  "metadata that are no JSON": {
    sql: set("metadata = 'none'"),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded: its metadata`),
    ways: withMetadata
  },
  "metadata that are no object": {
    sql: set("metadata = '[]'"),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded: its metadata`),
    ways: withMetadata
  },
  "metadata that are no strings": {
    sql: set(`metadata = '{"user":7}'`),
    tag: "EventNotDecodable",
    message: new RegExp(`${place} at position 2 can't be decoded: its metadata`),
    ways: withMetadata
  },
  "an encoding that is not known": {
    sql: set("encoding = 'json+lz77'"),
    tag: "EventNotDecodable",
    message: /the encoding "json\+lz77" is unknown here; add its formats to/
  },
  "a key that nobody has": {
    sql: set("encoding = 'json+aes-gcm:key-7'"),
    tag: "EventNotDecryptable",
    message: /can't be decrypted with key "key-7": no cipher is configured/
  },
  "a type that is not known": {
    sql: set("type = 'Account.Vanished'"),
    tag: "UnknownEventType",
    message: /\(Account\.Vanished\) at position 2 has a type that Account does not declare; declare it, or/
  },
  "a type that can't stand there": {
    sql: set(`type = 'Account.Opened', payload = '{"owner":"eve"}'`),
    tag: "EventNotDecodable",
    message: /event 1 of stream .*it creates an aggregate that already exists/,
    ways: rebuilding
  },
  "a schema version that is not known": {
    sql: set("schema_version = 9"),
    tag: "EventNotDecodable",
    message: /schema version 9 is unknown here, where the newest is 1; a newer version of the program wrote it/
  },
  "a time that is none": {
    sql: set("recorded_at = 9000000000000000", 2),
    tag: "EventNotDecodable",
    message: new RegExp(`event 2 of stream "${stream}" .*at position 3 can't be decoded`)
  },
  "a first event that is gone": {
    sql: `DELETE FROM stored_events WHERE ${at} 0`,
    tag: "RecorderFailure",
    message: new RegExp(`stream "${stream}" is incomplete: event 0 is missing, 1 was found in its place`),
    ways: rebuilding
  },
  "an event that is gone from the middle": {
    sql: `DELETE FROM stored_events WHERE ${at} 1`,
    tag: "RecorderFailure",
    message: new RegExp(`stream "${stream}" is incomplete: event 1 is missing, 2 was found in its place`),
    ways: rebuilding
  },
  "an event that was moved": {
    sql: set("version = 8"),
    tag: "RecorderFailure",
    message: new RegExp(`stream "${stream}" is incomplete: event 1 is missing`),
    ways: rebuilding
  }
}

describe("G8 a damaged row", () => {
  for (const [what, { sql, tag, message, ways: affected = everyWay }] of Object.entries(damages)) {
    for (const way of affected) {
      it.effect(`${what}: ${way}`, () =>
        Effect.gen(function* () {
          const filename = yield* Temporary.file
          yield* recordAccounts(filename)
          const sound = yield* Effect.sync(() => Fs.readFileSync(filename))
          yield* Stored.withConnection(filename, (db) => db.exec(sql))
          const rows = (yield* Stored.rows(filename)).length
          yield* Effect.gen(function* () {
            const error = yield* Effect.flip(ways[way])
            assert.strictEqual(error._tag, tag)
            assert.match(error.message, message)
            // the others are not affected
            const accounts = yield* Repository.of(Account)
            assert.strictEqual((yield* accounts.execute(bob, deposit(2, "bob"))).state.balance, 3)
          }).pipe(Effect.provide(SqliteLayer({ filename })))
          assert.strictEqual((yield* Stored.rows(filename)).length, rows + 1)

          Fs.writeFileSync(filename, sound)
          yield* Effect.provide(ways[way], SqliteLayer({ filename }))
        })
      )
    }
  }

  it.effect("a snapshot is a copy: the events are read instead", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* recordAccounts(filename)
      yield* Effect.flatMap(Repository.of(Account), (accounts) => accounts.snapshot(ada)).pipe(
        Effect.provide(SqliteLayer({ filename }))
      )
      for (const assignment of ["payload = '{'", "payload = x'00'", "encoding = 'none'", "schema_version = 9"]) {
        yield* Stored.withConnection(filename, (db) => {
          assert.strictEqual(db.prepare(`UPDATE stored_snapshots SET ${assignment}`).run().changes, 1)
        })
        const account = yield* Effect.flatMap(Repository.of(Account), (accounts) => accounts.get(ada)).pipe(
          Effect.provide(SqliteLayer({ filename }))
        )
        assert.deepStrictEqual([account.version, account.state.balance], [2, 30])
      }
    })
  )
})

describe("a damaged file", () => {
  const PAGE = 4096
  const count = 2000

  /** A file of events large enough to have pages in its middle, and how it is read. */
  const make = Effect.gen(function* () {
    const filename = yield* Temporary.file
    yield* Recorder.Recorder.use((recorder) =>
      Effect.forEach(
        Array.from({ length: count }, (_, n) => n),
        (n) => recorder.append(append(`Test-${n}`, { events: [event({ payload: "x".repeat(200) })] })),
        { concurrency: "unbounded" }
      )
    ).pipe(Effect.provide(SqliteLayer({ filename })))
    const readAll = Recorder.Recorder.use((recorder) => recorder.readAll({ limit: count + 1 })).pipe(
      Effect.provide(SqliteLayer({ filename }))
    )
    // G12: a follower that can't continue reports why
    const follow = Recorder.Recorder.use((recorder) => Stream.runDrain(recorder.follow({}))).pipe(
      Effect.provide(SqliteLayer({ filename }))
    )
    return { filename, readAll, follow, sound: Fs.readFileSync(filename) }
  })

  /** A page in the middle that holds rows of a table (https://www.sqlite.org/fileformat2.html, 1.6). */
  const leafInTheMiddle = (file: Buffer): number => {
    const LEAF = 0x0d
    let page = Math.floor(file.length / PAGE / 2)
    while (file[page * PAGE] !== LEAF) page++
    return page
  }

  const damagedFile: Readonly<Record<string, readonly [damage: (sound: Buffer) => Buffer, message: RegExp]>> = {
    "a page of zeroes": [
      (sound) => Buffer.from(sound).fill(0, leafInTheMiddle(sound) * PAGE, (leafInTheMiddle(sound) + 1) * PAGE),
      /the file is damaged; restore it from a backup, or save what can be read with: sqlite3 FILE \.recover/
    ],
    "a first page of zeroes": [
      (sound) => Buffer.from(sound).fill(0, 0, PAGE),
      /the file is (not a SQLite database|damaged)/
    ],
    "half of it gone": [
      (sound) => sound.subarray(0, Math.floor(sound.length / PAGE / 2) * PAGE),
      /the file is damaged; restore it from a backup/
    ]
  }
  for (const [what, [damage, message]] of Object.entries(damagedFile)) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const { filename, readAll, follow, sound } = yield* make
        assert.strictEqual((yield* readAll).length, count)
        Fs.writeFileSync(filename, damage(sound))
        for (const reading of [readAll, follow]) {
          const error = yield* Effect.flip(reading)
          assert.strictEqual(error._tag, "RecorderFailure")
          assert.match(error.message, message)
        }
        for (const suffix of ["-wal", "-shm"]) Fs.rmSync(filename + suffix, { force: true })
        Fs.writeFileSync(filename, sound)
        assert.strictEqual((yield* readAll).length, count)
      })
    )
  }
})
