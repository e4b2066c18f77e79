/** Connections by TLS: to a server whose certificate is signed by an unknown authority. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { Recorder, StreamName } from "effect-eventsourcing"
import type { PostgresOptions } from "effect-eventsourcing/postgres"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { makeCertificates } from "../support/certificates.ts"
import { startServer } from "../support/postgresServer.ts"
import { connect } from "./support/database.ts"

/** A server, and the certificate of the authority that signed its own. */
const secureServer = Effect.gen(function* () {
  const { authority, certificate, key } = makeCertificates()
  const { url } = yield* Effect.acquireRelease(
    Effect.promise(() => startServer()),
    ({ stop }) => Effect.promise(stop)
  )
  yield* Effect.scoped(
    Effect.gen(function* () {
      const sql = yield* connect({ url: Redacted.make(url), maxConnections: 1 })
      // written by the server, as the user that it runs as
      const write = (text: string, file: string) =>
        sql.unsafe(
          `COPY (SELECT unnest(string_to_array('${text.trim()}', E'\\n'))) TO PROGRAM 'umask 077; cat > ${file}'`
        )
      yield* write(certificate, "server.crt")
      yield* write(key, "server.key")
      yield* sql`ALTER SYSTEM SET ssl = on`
      yield* sql`SELECT pg_reload_conf()`
    })
  )
  return { authority, url }
})

const open = (options: PostgresOptions) =>
  Effect.map(Layer.build(Layer.fresh(PostgresLayer(options))), Context.get(Recorder.Recorder))

describe("TLS", () => {
  it.live("is used for appends, reads and following; a certificate that can't be verified is refused", () =>
    Effect.gen(function* () {
      const { authority, url } = yield* secureServer
      const secure = { url, ssl: { ca: authority } } as const
      const recorder = yield* open(secure)
      const stream = StreamName.StreamName.make("Dog-a")
      yield* recorder.append({ stream, expected: "NoStream", events: storedEvents(2) })
      const followed = yield* Stream.runCollect(Stream.take(recorder.follow({}), 1))
      assert.deepStrictEqual(
        followed.flatMap(({ notifications }) => notifications.map(({ version }) => version)),
        [0, 1]
      )
      const sql = yield* connect({ url: Redacted.make(url), ssl: { ca: authority }, maxConnections: 1 })
      const sessions = yield* sql<{ ssl: boolean }>`
        SELECT s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.backend_type = 'client backend'`
      assert.isAtLeast(sessions.length, 2)
      assert.isTrue(sessions.every(({ ssl }) => ssl))

      for (const [options, reason] of [
        [{ url: `${url}?sslmode=require` }, /certificate/],
        [{ url: `${url}?sslmode=verify-full` }, /certificate/],
        [{ url, ssl: true }, /certificate/],
        [{ url, ssl: { ca: authority, servername: "elsewhere.example" } }, /elsewhere\.example/]
      ] as const) {
        const error = yield* Effect.flip(open(options))
        assert.strictEqual(error._tag, "RecorderFailure", String(error))
        assert.match(error.message, reason)
      }
      // which chooses to verify nothing
      const careless = yield* open({ url, ssl: { rejectUnauthorized: false } })
      assert.strictEqual(yield* careless.head, yield* recorder.head)
    })
  )
})
