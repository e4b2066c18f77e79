/** How keys, and what was decrypted with them, are cached: for a minute at most, and never from a transaction. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Result, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  Cipher,
  Compressor,
  KeyService,
  Mapper,
  Repository,
  SnapshotStore,
  StreamName,
  Transcoder
} from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { makeLog, open } from "../support/memoryLog.ts"

const Patient = Aggregate.make("Patient", {
  state: { name: Schema.String },
  creation: { Admitted: { name: Schema.String } },
  events: { Renamed: { name: Schema.String } },
  reduce: { Admitted: ({ name }) => ({ name }), Renamed: (_, { name }) => ({ name }) }
})
const ada = Patient.Id.make("ada")

const keyOf = (bytes: Uint8Array): KeyService.Key => Redacted.make(bytes, { label: "key" })

const mapperOf = (cipher: Layer.Layer<Cipher.Cipher>) =>
  Mapper.layer.pipe(Layer.provide([Transcoder.layerJson, Compressor.layerNone, cipher]))

/** A key for each patient, as long as it is stored. */
const perPatient = () => {
  const keys = new Map<string, KeyService.Key>()
  const service = Layer.succeed(KeyService.KeyService, {
    encryptionKey: ({ stream }) =>
      Effect.gen(function* () {
        const id = StreamName.id(stream)
        const key = keys.get(id)
        if (key === undefined) return yield* new KeyService.KeyServiceError({ reason: `no key for ${id}` })
        return { id, key }
      }),
    decryptionKey: (id) => Effect.sync(() => keys.get(id))
  })
  return { keys, cipher: Layer.provide(Cipher.layerAesGcm({ cacheFor: "1 minute" }), service) }
}

describe("a key that was shredded", () => {
  /** Ada is admitted, some time passes, and her key is deleted. */
  const shredded = Effect.fnUntraced(function* (before: "0 seconds" | "59 seconds") {
    const { cipher, keys } = perPatient()
    keys.set("ada", yield* KeyService.randomKey(32))
    const log = yield* makeLog
    const patients = (yield* open(log, { mapper: mapperOf(cipher) })).repository.of(Patient)
    yield* patients.execute(ada, Patient.Admitted({ name: "Ada" }))
    yield* TestClock.adjust(before)
    // read again: the state is current, but its key is from before
    assert.deepInclude((yield* patients.get(ada)).state, { name: "Ada" })
    keys.delete("ada")
    return patients
  })

  it.effect.each(["0 seconds", "59 seconds"] as const)(
    "%s after it was used makes its events unreadable within a minute",
    (before) =>
      Effect.gen(function* () {
        const patients = yield* shredded(before)
        yield* TestClock.adjust("1 minute")
        const seen: Array<unknown> = []
        for (const refused of [
          patients.get(ada),
          patients.get(ada, { allowStale: true }),
          patients.execute(
            ada,
            Patient.decide((patient) => {
              seen.push(patient)
              return Patient.Renamed({ name: "Eve" })
            })
          ),
          patients.snapshot(ada)
        ]) {
          assert.deepInclude(yield* Effect.flip(refused), { _tag: "EventNotDecryptable", reason: "UnknownKey" })
        }
        assert.deepStrictEqual(seen, [])
      })
  )

  it.effect("remains in use for the minute, and not at all once its aggregate is forgotten", () =>
    Effect.gen(function* () {
      const patients = yield* shredded("0 seconds")
      assert.deepInclude((yield* patients.get(ada, { allowStale: true })).state, { name: "Ada" })
      yield* patients.forget(ada)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Effect.flip(patients.get(ada)))._tag, "EventNotDecryptable")
    })
  )

  it.effect("of a state that several commands used counts from the first of them", () =>
    Effect.gen(function* () {
      const { cipher, keys } = perPatient()
      keys.set("ada", yield* KeyService.randomKey(32))
      const patients = (yield* open(yield* makeLog, { mapper: mapperOf(cipher) })).repository.of(Patient)
      yield* patients.execute(ada, Patient.Admitted({ name: "Ada" }))
      yield* TestClock.adjust("50 seconds")
      yield* patients.execute(ada, Patient.Renamed({ name: "Eve" }))
      keys.set("ada", yield* KeyService.randomKey(32))
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Effect.flip(patients.get(ada, { allowStale: true })), { reason: "NotAuthentic" })
    })
  )

  it.effect("does not affect plaintext", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const patients = (yield* open(log)).repository.of(Patient)
      yield* patients.execute(ada, Patient.Admitted({ name: "Ada" }))
      const other = (yield* open(log)).repository.of(Patient)
      yield* other.execute(ada, Patient.Renamed({ name: "Eve" }))
      yield* TestClock.adjust("1 day")
      assert.deepInclude((yield* patients.get(ada, { allowStale: true })).state, { name: "Ada" })
    })
  )
})

describe("a key that was made in a transaction", () => {
  /** Keys in a table of the log's own file, each made when it is first requested. */
  const KeysInTable = Layer.effect(
    KeyService.KeyService,
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, key TEXT)`
      const failed = Effect.mapError((cause: unknown) => new KeyService.KeyServiceError({ reason: "no keys", cause }))
      const of = (id: string) =>
        Effect.map(sql<{ readonly key: Uint8Array }>`SELECT key FROM keys WHERE id = ${id}`, ([row]) =>
          row === undefined ? undefined : keyOf(row.key)
        )
      return {
        encryptionKey: ({ stream }) =>
          failed(
            Effect.gen(function* () {
              const id = StreamName.id(stream)
              const bytes = crypto.getRandomValues(new Uint8Array(32))
              yield* sql`INSERT INTO keys (id, key) VALUES (${id}, ${bytes}) ON CONFLICT DO NOTHING`
              return { id, key: (yield* of(id)) ?? keyOf(bytes) }
            })
          ),
        decryptionKey: (id) => failed(of(id))
      }
    })
  )

  it.effect("that is rolled back is not used for events that are recorded afterwards", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const live = () =>
        SqliteLayer({
          filename,
          mapper: mapperOf(
            Cipher.layerAesGcm().pipe(
              Layer.provide(KeysInTable),
              Layer.provide(layerSqlClient({ filename })),
              Layer.orDie
            )
          )
        }).pipe(Layer.provideMerge(layerSqlClient({ filename })), Layer.fresh)
      const here = yield* Layer.build(live())
      const sql = Context.get(here, SqlClient.SqlClient)
      const patients = Context.get(here, Repository.Repository).of(Patient)
      const admit = patients.execute(ada, Patient.Admitted({ name: "Ada" }))
      const first = yield* Effect.result(
        sql.withTransaction(Effect.andThen(admit, Effect.fail("rolled back" as const)))
      )
      assert.deepStrictEqual(first, Result.fail("rolled back"))
      yield* sql.withTransaction(admit)
      const { createdAt, modifiedAt } = yield* patients.get(ada)
      const eve = { id: Patient.Id.make("eve"), version: 0, state: { name: "Eve" }, createdAt, modifiedAt }
      const snapshots = Context.get(here, SnapshotStore.SnapshotStore)
      yield* Effect.result(
        sql.withTransaction(Effect.andThen(snapshots.save(Patient, eve), Effect.fail("rolled back" as const)))
      )
      yield* snapshots.save(Patient, eve)
      yield* patients.execute(ada, Patient.Renamed({ name: "Eve" }))
      assert.strictEqual((yield* sql`SELECT * FROM keys`).length, 2)
      const there = Context.get(yield* Layer.build(live()), Repository.Repository).of(Patient)
      assert.deepInclude((yield* there.get(ada)).state, { name: "Eve" })
    })
  )
})
