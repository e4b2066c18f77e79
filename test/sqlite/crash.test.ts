/**
 * A process is killed in the middle of heavy appends, again and again on the same file.
 *
 * `CRASH_KILLS` sets the number of kills (default 10); `CRASH_SEED` repeats the moments of an earlier run.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, Repository, StreamCatalog, StreamName } from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer } from "effect-eventsourcing/sqlite"
import type { Acknowledged } from "../support/acknowledgements.ts"
import { parse } from "../support/acknowledgements.ts"
import * as Child from "../support/childProcess.ts"
import { random } from "../support/random.ts"
import { Tally } from "../support/tally.ts"
import * as Stored from "./support/inspectFile.ts"
import * as Temporary from "./support/temporaryFile.ts"

const kills = Number(process.env.CRASH_KILLS ?? 10)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

/** The number of kills on one file, since each of them inspects the whole file. */
const KILLS_PER_FILE = 20

/**
 * Inspects a copy of the file and its write-ahead log, as the killed process left them: the recovery of the file itself
 * is left to the next process.
 */
const problemsOfCopy = (filename: string, acknowledged: ReadonlyArray<ReadonlyArray<Acknowledged>>) => {
  const copy = Path.join(Path.dirname(filename), "copy.db")
  for (const suffix of ["", "-wal"]) {
    Fs.rmSync(copy + suffix, { force: true })
    if (Fs.existsSync(filename + suffix)) Fs.copyFileSync(filename + suffix, copy + suffix)
  }
  return Stored.withConnection(copy, (db) => {
    const isLog = db.prepare("SELECT count(*) AS count FROM sqlite_schema WHERE name = 'stored_log'").get()?.count === 1
    if (!isLog) return acknowledged.length === 0 ? [] : ["the log is gone"]
    const halves = db
      .prepare(
        `SELECT payload ->> 'batch' AS batch, count(*) AS count, max(payload ->> 'size') AS size FROM stored_events
         GROUP BY batch HAVING count <> size`
      )
      .all()
    const idAt = db.prepare("SELECT id FROM stored_events WHERE stream = ? AND version = ?")
    const lost = acknowledged.flat().flatMap(({ stream, version, ids }) =>
      ids.flatMap((id, i) => {
        const there = idAt.get(stream, version + i)?.id
        return there === id ? [] : [`lost: event ${version + i} of ${stream}, ${id}; there is ${there}`]
      })
    )
    return [...Stored.problems(db), ...halves.map((half) => `half there: ${JSON.stringify(half)}`), ...lost]
  })
}

/** Lets a process append and kills it; returns what it had acknowledged. */
const appendAndKill = Effect.fnUntraced(function* (filename: string, duringOpen: boolean, next: () => number) {
  const child = yield* Child.start("support/appendUntilKilled.ts", "forever", "sqlite", filename)
  assert.strictEqual(yield* child.line, "opening")
  if (!duringOpen) assert.strictEqual(yield* child.line, "opened")
  yield* Effect.sleep(next() * (duringOpen ? 40 : 150))
  assert.strictEqual(yield* child.kill, "SIGKILL")
  return parse(yield* child.remaining)
}, Effect.scoped)

describe("SIGKILL in the middle of appends", () => {
  for (let file = 0; file * KILLS_PER_FILE < kills; file++) {
    const times = Math.min(KILLS_PER_FILE, kills - file * KILLS_PER_FILE)
    it.live(
      `G1 G2 G5 acknowledged appends are there, and none is there in part (file ${file + 1}, ${times} kills)`,
      () =>
        Effect.gen(function* () {
          console.log(`CRASH_SEED=${seed}`)
          const next = random(seed + file)
          const filename = yield* Temporary.file
          const acknowledged: Array<ReadonlyArray<Acknowledged>> = []
          let killedInAppends = 0
          for (let kill = 1; kill <= times; kill++) {
            const added = yield* appendAndKill(filename, kill % 5 === 0, next)
            acknowledged.push(...added)
            if (added.length > 0) killedInAppends++
            const problems = yield* problemsOfCopy(filename, acknowledged)
            assert.deepStrictEqual(problems, [], `after kill ${kill} with CRASH_SEED=${seed}`)
          }
          assert.isAbove(killedInAppends, 0, "no process came to append before it was killed")

          // one more process recovers the file, and is allowed to finish
          const last = yield* Child.start("support/appendUntilKilled.ts", "3", "sqlite", filename)
          yield* last.end
          const added = parse(yield* last.remaining)
          assert.isAtLeast(added.length, 20)
          acknowledged.push(...added)
          assert.deepStrictEqual(yield* problemsOfCopy(filename, acknowledged), [])
          yield* readsBack(filename)
        })
    )
  }

  it.live("G5 a commit is on the disk before it returns, unless an option says otherwise", () =>
    Effect.gen(function* () {
      const synchronous = (layer: ReturnType<typeof layerSqlClient>) =>
        SqlClient.SqlClient.use((sql) => sql`PRAGMA synchronous`).pipe(
          Effect.map(([row]) => row?.synchronous),
          Effect.provide(layer)
        )
      const filename = yield* Temporary.file
      assert.strictEqual(yield* synchronous(layerSqlClient({ filename })), 2) // FULL
      assert.strictEqual(yield* synchronous(layerSqlClient({ filename, synchronous: "normal" })), 1)
    })
  )

  /** The library reads everything, and counts what SQLite counts. */
  const readsBack = (filename: string) =>
    Effect.gen(function* () {
      const rows = yield* Stored.rows(filename)
      const tallies = yield* Repository.of(Tally)
      const { list } = yield* StreamCatalog.StreamCatalog
      const streams = yield* list({ limit: rows.length })
      const counts = yield* Effect.forEach(streams, ({ stream }) =>
        Effect.map(tallies.get(Tally.Id.make(StreamName.id(stream))), ({ state }) => state)
      )
      assert.strictEqual(
        counts.reduce((sum, count) => sum + count, 0),
        rows.length
      )
      const head = yield* EventStore.EventStore.use((store) => store.head)
      assert.strictEqual(head, BigInt(rows.at(-1)?.position ?? 0))
    }).pipe(Effect.provide(SqliteLayer({ filename })))
})
