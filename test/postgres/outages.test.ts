/** A layer that has worked waits through any outage; a layer that is being built reports at once what is wrong. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { SqlError } from "effect/sql"
import type { Recorder } from "effect-eventsourcing"
import { EventStore, ProjectionRunner, Subscription } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { toOpeningError, toRecorderError } from "../../src/postgres/errors.ts"
import { silent } from "../projection/support/harness.ts"
import { count, makeJournal, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { until, untilState } from "../projection/support/runnerStates.ts"
import { Counter } from "../support/dog.ts"
import { newSchema, url } from "./support/database.ts"
import { startProxy } from "./support/proxy.ts"

const reasonOf = (code: string | undefined, operation: "connect" | "query", message = "said") => {
  const cause = Object.assign(new Error(message), code === undefined ? {} : { code })
  const isOfNetwork = code === undefined || /^[A-Z_]{4,}$/.test(code)
  return isOfNetwork || code.startsWith("08")
    ? new SqlError.ConnectionError({ cause, message, operation })
    : new SqlError.UnknownError({ cause, message, operation })
}
const tagOf = (toError: typeof toRecorderError, ...of: Parameters<typeof reasonOf>) =>
  toError("ask", new SqlError.SqlError({ reason: reasonOf(...of) }))._tag

describe("errors of a working layer", () => {
  const network = [
    ...["ENOTFOUND", "EAI_AGAIN", "EAI_FAIL", "EHOSTDOWN", "ENETDOWN", "EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS"],
    ...["ECONNABORTED", "EPIPE", "EPROTO", "CERT_HAS_EXPIRED", "DEPTH_ZERO_SELF_SIGNED_CERT", "ECONNREFUSED"],
    "ERR_TLS_CERT_ALTNAME_INVALID"
  ]
  it.each(network)("%s while connecting is an outage", (code) => {
    assert.strictEqual(tagOf(toRecorderError, code, "connect"), "RecorderUnavailable")
  })
  it.each(["28P01", "28000", "3D000", "53100", "53400", "25006", "26000", "42P05", "57P04", "58030", "40003", "08P01"])(
    "%s is an outage",
    (code) => {
      for (const operation of ["connect", "query"] as const) {
        assert.strictEqual(tagOf(toRecorderError, code, operation), "RecorderUnavailable")
      }
    }
  )
  it("any refusal of a session by a pooler is an outage", () => {
    for (const code of ["XX000", "0A000", "42501", "55000", undefined]) {
      assert.strictEqual(tagOf(toRecorderError, code, "connect"), "RecorderUnavailable", code)
    }
  })
  it.each(["42P01", "42501", "23514", "22021", "XX001", "0A000", "54000", "P0001"])(
    "%s of a statement is final",
    (code) => {
      assert.strictEqual(tagOf(toRecorderError, code, "query"), "RecorderFailure")
    }
  )
  it("a row that is too large for the client is final", () => {
    const message = "a message exceeds maxMessageSize"
    assert.strictEqual(tagOf(toRecorderError, undefined, "query", message), "RecorderFailure")
  })
})

describe("errors while a layer is built", () => {
  it.each(["ENOTFOUND", "CERT_HAS_EXPIRED", "28P01", "28000", "3D000", "53100", "25006", "42501"])(
    "%s is final",
    (code) => {
      assert.strictEqual(tagOf(toOpeningError, code, "connect"), "RecorderFailure")
    }
  )

  it.live.each(["28P01", "3D000"])("fails at once if the server answers %s", (code) =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      proxy.refuse({ code, message: "no" })
      const at = { url: proxy.url, schema: yield* newSchema }
      for (const layer of [PostgresLayer(at), PostgresViews(at)] as ReadonlyArray<Layer.Layer<unknown, unknown>>) {
        assert.include(yield* Effect.flip(Layer.build(layer)), { _tag: "RecorderFailure" })
      }
      assert.strictEqual(proxy.refused(), 2)
    })
  )
})

describe.concurrent("a running runner and subscription", () => {
  it.live.each(["28P01", "3D000", "53100", "25006", "XX000"])(
    "G12 wait if the server answers %s, and report why",
    (code) =>
      Effect.gen(function* () {
        const proxy = yield* startProxy(url())
        const at = { url: proxy.url, schema: yield* newSchema }
        const journal = makeJournal("tables", { name: `j${code.toLowerCase()}` })
        yield* Effect.scoped(
          Effect.gen(function* () {
            const runner = yield* ProjectionRunner.make(journal, { lease: "1 second" })
            const seen: Array<number> = []
            const states: Array<Recorder.FollowState> = []
            yield* Subscription.all([Counter], { onState: (state) => Effect.sync(() => states.push(state)) }).pipe(
              Stream.runForEach(({ version }) => Effect.sync(() => seen.push(version))),
              Effect.forkScoped({ startImmediately: true })
            )
            yield* count("a")
            yield* untilState(runner, "Live")
            yield* until(Effect.sync(() => seen.length === 1))

            proxy.refuse({ code, message: "not for now" })
            proxy.loseStatements()
            const retrying = yield* untilState(runner, "Retrying")
            assert.include(retrying.cause, { _tag: "RecorderUnavailable" })
            yield* until(Effect.sync(() => states.some(({ _tag }) => _tag === "Retrying")))
            yield* until(Effect.sync(() => proxy.refused() > 5))

            proxy.letThrough()
            const store = yield* EventStore.EventStore
            // a command may be what finds that the server is back
            yield* until(
              Effect.map(
                Effect.exit(store.version(Counter.stream(Counter.Id.make("a")))),
                (exit) => exit._tag === "Success"
              )
            )
            yield* count("a")
            yield* until(Effect.sync(() => seen.length === 2))
            yield* until(Effect.map(readJournal(journal), (entries) => entries.length === 2))
            assert.deepStrictEqual(yield* readJournal(journal), yield* wholeLog)
          })
        ).pipe(Effect.provide(Layer.mergeAll(PostgresLayer(at), PostgresViews(at), MemoryViews(), silent)))
      })
  )
})
