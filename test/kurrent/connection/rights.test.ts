/** The rights that a user needs, and the errors if they are missing. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { makeCertificates } from "../../support/certificates.ts"
import { Counter } from "../../support/dog.ts"
import { openLog, ownFake } from "../support/logs.ts"
import { isFake } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)

const secured = (version?: string) =>
  Effect.gen(function* () {
    const certificates = makeCertificates()
    const fake = yield* ownFake({
      tls: certificates,
      credentials: { user: "admin", password: "changeit" },
      users: { ada: "lovelace" },
      ...(version === undefined ? {} : { version })
    })
    const options = (username: string, password: string) => ({
      connectionString: fake.uri,
      rootCertificate: certificates.authority,
      username,
      password: Redacted.make(password)
    })
    const client = (username: string, password: string) =>
      Effect.map(Layer.build(Layer.fresh(KurrentClient.layer(options(username, password)))), Context.get(KurrentClient))
    return { client, fake, options }
  })

describe("the right to read $all", () => {
  for (const version of ["26.1.0", "24.6.0"]) {
    onFake(
      `is checked when the layer is built, and named if missing; a user with it can do everything: ${version}`,
      () =>
        Effect.gen(function* () {
          const { client, options } = yield* secured(version)
          const refused = yield* Effect.flip(openLog(options("ada", "lovelace")))
          assert.strictEqual(refused._tag, "RecorderFailure")
          assert.match(refused.message, /right to read "\$all"/)
          assert.notInclude(refused.message, "lovelace")
          const admin = yield* client("admin", "changeit")
          assert.deepStrictEqual((yield* admin.getStreamMetadata("$all")).metadata, {})
          yield* admin.updateStreamMetadata("$all", (metadata) => ({ ...metadata, acl: { read: ["$admins", "ada"] } }))
          assert.deepStrictEqual((yield* admin.getStreamMetadata("$all")).metadata.acl, { read: ["$admins", "ada"] })
          const log = yield* openLog(options("ada", "lovelace"))
          const counters = log.repository.of(Counter)
          const { position } = yield* counters.execute(Counter.Id.make("1"), Counter.Started())
          assert.strictEqual(yield* log.recorder.head, position)
          assert.lengthOf(yield* Stream.runCollect(log.store.readAll([Counter])), 1)
          assert.strictEqual((yield* Stream.runHead(log.recorder.follow({})))._tag, "Some")
          yield* counters.snapshot(Counter.Id.make("1"))
        })
    )

    onFake(`is nothing that a client needs which does not read it, and a wrong password is refused: ${version}`, () =>
      Effect.gen(function* () {
        const { client, options } = yield* secured(version)
        const ada = yield* client("ada", "lovelace")
        yield* ada.append("Dog-a", [{ type: "Happened", data: {} }], { expected: "NoStream" })
        assert.lengthOf(yield* Stream.runCollect(ada.readStream("Dog-a")), 1)
        const error = yield* Effect.flip(Stream.runDrain(ada.readAll()))
        assert.strictEqual(error._tag, "KurrentFailure")
        assert.include(error.message, "access denied")
        const own = yield* Effect.flip(ada.updateStreamMetadata("$all", () => ({ acl: { read: ["ada"] } })))
        assert.include(own.message, "access denied")
        for (const [user, password] of [
          ["ada", "wrong"],
          ["nobody", "changeit"]
        ] as const) {
          const wrong = yield* Effect.flip(client(user, password))
          assert.strictEqual(wrong._tag, "KurrentFailure")
          assert.include(wrong.message, "access denied")
          assert.deepInclude(yield* Effect.flip(openLog(options(user, password))), { _tag: "RecorderFailure" })
        }
      })
    )
  }

  onFake("invalid stream names are still refused", () =>
    Effect.gen(function* () {
      const { client } = yield* secured()
      const admin = yield* client("admin", "changeit")
      for (const stream of ["", "$$", "$$all", "$$$all"]) {
        assert.strictEqual((yield* Effect.flip(admin.getStreamMetadata(stream)))._tag, "KurrentFailure", stream)
      }
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(admin.readStream("$all"))))._tag, "KurrentFailure")
    })
  )
})

describe("a server with TLS that is called without it, and vice versa", () => {
  onFake("is an error that advises what to change in the connection string", () =>
    Effect.gen(function* () {
      const { fake } = yield* secured()
      const without = yield* Effect.flip(openLog({ connectionString: fake.uri.replace("tls=true", "tls=false") }))
      assert.match(without.message, /tls=true/)
      const bare = yield* Effect.flip(openLog({ connectionString: `127.0.0.1:${fake.port}` }))
      assert.match(bare.message, /tls=true/)
      const plain = yield* ownFake()
      const withTls = yield* Effect.flip(openLog({ connectionString: plain.uri.replace("tls=false", "tls=true") }))
      assert.match(withTls.message, /tls=false/)
    })
  )
})
