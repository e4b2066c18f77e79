/**
 * What a person has to know when the layer is built: that a server can't be reached, or that the configuration is
 * wrong.
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import type { Config } from "effect"
import { Cause, ConfigProvider, Context, Effect, Exit, Fiber, Layer, Logger, Redacted, Scope, Tracer } from "effect"
import type { EventSourcingError } from "effect-eventsourcing"
import { MultiStreamAppend, Recorder } from "effect-eventsourcing"
import type { KurrentOptions, KurrentServices } from "effect-eventsourcing/kurrent"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import type { Certificates } from "../../support/certificates.ts"
import { makeCertificates } from "../../support/certificates.ts"
import * as Child from "../../support/childProcess.ts"
import { eventually } from "../../support/eventually.ts"
import { ENDS, timed } from "../../support/timed.ts"
import { idsOf, newAppend, openLog, ownFake, watch } from "../support/logs.ts"
import { isFake, newPrefix, uri } from "../support/server.ts"

/** Faults, and servers that one test has to have for itself. */
const onFake = it.live.skipIf(!isFake)

const failure = (options: KurrentOptions) => Effect.flip(Effect.scoped(openLog(options)))

/** A port that accepts connections; `accept` says what is done with them. */
const port = (accept: (socket: Net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: Net.Server; readonly sockets: Set<Net.Socket> }>((resume) => {
        const sockets = new Set<Net.Socket>()
        const server: Net.Server = Net.createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => {})
          accept(socket)
        }).listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets })))
      }),
      ({ server, sockets }) =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    ),
    ({ server }) => (server.address() as Net.AddressInfo).port
  )

/** A port on which nothing listens. */
const closedPort = Effect.scoped(port(() => {}))

const node = (at: number, rest = "tls=false") => `kurrentdb://127.0.0.1:${at}?${rest}`

const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "kurrent connection & test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** Appends and reads, which go through different halves of the client. */
const use = (log: Effect.Success<ReturnType<typeof openLog>>) =>
  Effect.gen(function* () {
    const append = newAppend("Dog-a", 2)
    yield* log.recorder.append(append)
    assert.deepStrictEqual(
      yield* idsOf(log),
      append.events.map(({ id }) => id)
    )
    const seen = yield* watch(log)
    yield* seen.until(() => seen.ids.length === 2)
    yield* log.recorder.append({ ...newAppend("Dog-a"), expected: 1 })
    yield* seen.until(() => seen.ids.length === 3)
    assert.lengthOf(yield* log.recorder.readStream({ stream: append.stream, limit: 10 }), 3)
  })

describe.concurrent("a server that is not there", () => {
  it.live("at an address where no one listens is unavailable, in about two seconds, with the address", () =>
    Effect.gen(function* () {
      const at = yield* closedPort
      const [error, took] = yield* timed(failure({ connectionString: node(at) }))
      assert.deepInclude(error, { _tag: "RecorderUnavailable", operation: "connect to KurrentDB" })
      assert.include(error.message, String(at))
      assert.isBelow(took, ENDS)
    })
  )

  it.live("with a name that does not exist is unavailable", () =>
    Effect.gen(function* () {
      const error = yield* failure({ connectionString: "kurrentdb://nobody.invalid:2113?tls=false" })
      assert.strictEqual(error._tag, "RecorderUnavailable")
      assert.include(error.message, "nobody.invalid")
    })
  )

  it.live("in a cluster without any node is unavailable, within the time for connecting", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* closedPort, yield* closedPort]
      const connectionString = `kurrentdb://127.0.0.1:${one},127.0.0.1:${two}?tls=false`
      const [error, took] = yield* timed(failure({ connectionString, connectTimeout: "3 seconds" }))
      assert.strictEqual(error._tag, "RecorderUnavailable")
      assert.isBelow(took, ENDS)
    })
  )

  it.live("that accepts connections but does not respond is unavailable, within the time for connecting", () =>
    Effect.gen(function* () {
      const at = yield* port(() => {})
      const [error, took] = yield* timed(failure({ connectionString: node(at), connectTimeout: "700 millis" }))
      assert.strictEqual(error._tag, "RecorderUnavailable")
      assert.isBelow(took, ENDS)
    })
  )

  it.live("that speaks another protocol is unavailable, within the time for connecting", () =>
    Effect.gen(function* () {
      const at = yield* port((socket) => {
        socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
      })
      const [error, took] = yield* timed(failure({ connectionString: node(at), connectTimeout: "3 seconds" }))
      assert.include(["RecorderUnavailable", "RecorderFailure"], error._tag)
      assert.isBelow(took, ENDS)
    })
  )

  onFake("that never answers calls of some kind is unavailable, within a deadline", () =>
    Effect.gen(function* () {
      for (const kind of ["features", "reads", "appends"] as const) {
        const fake = yield* ownFake()
        fake.faults.silence(kind)
        const options = { connectionString: fake.uri, connectTimeout: "500 millis", deadline: "500 millis" } as const
        const [error, took] = yield* timed(failure(options))
        assert.strictEqual(error._tag, "RecorderUnavailable", kind)
        assert.isBelow(took, ENDS, kind)
      }
    })
  )

  onFake("that starts within two seconds is waited for", () =>
    Effect.gen(function* () {
      const at = yield* closedPort
      const opening = yield* Effect.forkScoped(openLog({ connectionString: node(at), connectTimeout: "10 seconds" }), {
        startImmediately: true
      })
      yield* Effect.sleep("300 millis")
      yield* ownFake({ port: at })
      yield* use(yield* Fiber.join(opening))
    })
  )
})

describe.concurrent("certificates", () => {
  const secured = Effect.gen(function* () {
    const certificates = makeCertificates()
    const fake = yield* ownFake({ tls: certificates })
    return { certificates, fake, directory: yield* temporaryDirectory }
  })
  const write = (directory: string, name: string, text: string) => {
    const path = Path.join(directory, name)
    Fs.writeFileSync(path, text)
    return path
  }

  onFake(
    "of an authority that is given as a path, also one with spaces and special characters, are trusted in all calls",
    () =>
      Effect.gen(function* () {
        const { certificates, directory, fake } = yield* secured
        for (const name of ["ca.pem", "c a+ä%20&=?#.pem"]) {
          const rootCertificate = write(directory, name, certificates.authority)
          yield* Effect.scoped(Effect.flatMap(openLog({ connectionString: fake.uri, rootCertificate }), use))
        }
      })
  )

  onFake("of an authority that is given as PEM are trusted in all calls, also after the server was gone", () =>
    Effect.gen(function* () {
      const { certificates, fake } = yield* secured
      const log = yield* openLog({ connectionString: fake.uri, rootCertificate: certificates.authority })
      yield* use(log)
      fake.faults.refuseConnections()
      yield* Effect.promise(() => fake.faults.acceptConnections())
      assert.lengthOf(yield* idsOf(log), 3)
    })
  )

  onFake("of an authority that is named in the connection string are trusted in all calls", () =>
    Effect.gen(function* () {
      const { certificates, directory, fake } = yield* secured
      const path = write(directory, "ca.pem", certificates.authority)
      for (const option of ["tlsCAFile", "rootCertificate"]) {
        const connectionString = `${fake.uri}&${option}=${encodeURIComponent(path)}`
        yield* Effect.scoped(Effect.flatMap(openLog({ connectionString }), use))
      }
    })
  )

  onFake("that are not verified are trusted in all calls", () =>
    Effect.gen(function* () {
      const { fake } = yield* secured
      yield* use(yield* openLog({ connectionString: `${fake.uri}&tlsVerifyCert=false` }))
    })
  )

  onFake("of an authority that is not trusted, or of another one, are a failure that says so, in time", () =>
    Effect.gen(function* () {
      const { fake } = yield* secured
      const others: Certificates = makeCertificates()
      for (const rootCertificate of [undefined, others.authority] as const) {
        const [error, took] = yield* timed(failure({ connectionString: fake.uri, rootCertificate }))
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, /certificate/)
        assert.isBelow(took, ENDS)
      }
    })
  )

  onFake("for a server without TLS that is called with it, or vice versa, lead to an error in time", () =>
    Effect.gen(function* () {
      const { fake } = yield* secured
      const plain = yield* ownFake()
      for (const connectionString of [node(plain.port, "tls=true"), node(fake.port, "tls=false")]) {
        const [error, took] = yield* timed(failure({ connectionString }))
        assert.include(["RecorderUnavailable", "RecorderFailure"], error._tag)
        assert.isBelow(took, ENDS)
      }
    })
  )

  it.live("at a path that does not exist are a failure that names it", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const rootCertificate = Path.join(directory, "none.pem")
      const error = yield* failure({ connectionString: uri, rootCertificate })
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.include(error.message, rootCertificate)
    })
  )

  it.live("at the path of a directory, or of a file without a certificate, are a failure that names it", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      for (const rootCertificate of [directory, write(directory, "empty.pem", ""), write(directory, "text.pem", "x")]) {
        const error = yield* failure({ connectionString: "kurrentdb://127.0.0.1:1?tls=true", rootCertificate })
        assert.strictEqual(error._tag, "RecorderFailure", rootCertificate)
        assert.include(error.message, "certificate")
      }
    })
  )

  it.live("in invalid PEM are a failure that says so", () =>
    Effect.gen(function* () {
      const rootCertificate = "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n"
      const error = yield* failure({ connectionString: "kurrentdb://127.0.0.1:1?tls=true", rootCertificate })
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.include(error.message, "certificate")
    })
  )
})

describe("a certificate that is given as PEM", () => {
  onFake("leaves no file behind when the layer is closed, or was not built", () =>
    Effect.gen(function* () {
      const files = () => Fs.readdirSync(Os.tmpdir()).filter((name) => name.startsWith("kurrentdb-"))
      const certificates = makeCertificates()
      const fake = yield* ownFake({ tls: certificates })
      const before = files()
      yield* Effect.scoped(openLog({ connectionString: fake.uri, rootCertificate: certificates.authority }))
      assert.deepStrictEqual(files(), before)
      yield* failure({ connectionString: fake.uri, rootCertificate: makeCertificates().authority })
      assert.deepStrictEqual(files(), before)
    })
  )
})

describe.concurrent("credentials", () => {
  const user = "us@er:/?#[]%&=+,;! '()*$~ä漢\""
  // the server ends the name at the first colon
  const credentials = { user: user.replace(":", ""), password: `p:a@s/s?w#o%r&d=+,;! '()*$~ö字"\\^\`{}|<>` }

  // the client sends them over TLS only
  onFake("with any characters work for appends, reads and followers, in the string or passed separately", () =>
    Effect.gen(function* () {
      const tls = makeCertificates()
      const rootCertificate = tls.authority
      const encoded = `${encodeURIComponent(credentials.user)}:${encodeURIComponent(credentials.password)}@`
      const [username, password] = [credentials.user, Redacted.make(credentials.password)]
      for (const [login, own] of [
        [encoded, {}],
        ["", { username, password }],
        ["somebody:else@", { username, password }]
      ] as const) {
        const fake = yield* ownFake({ credentials, tls })
        const connectionString = Redacted.make(fake.uri.replace("://", `://${login}`))
        yield* Effect.scoped(Effect.flatMap(openLog({ connectionString, rootCertificate, ...own }), use))
      }
    })
  )

  onFake("that are wrong, or missing, are a failure at once that says so", () =>
    Effect.gen(function* () {
      const tls = makeCertificates()
      const fake = yield* ownFake({ credentials: { user: "ada", password: "right" }, tls })
      const options = { connectionString: fake.uri, rootCertificate: tls.authority }
      for (const one of [options, { ...options, username: "ada", password: Redacted.make("wrong") }]) {
        const [error, took] = yield* timed(failure(one))
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, /access denied; check the user name, the password/)
        assert.isBelow(took, ENDS)
      }
    })
  )
})

describe("a password", () => {
  const SECRET = "hunter2-9f4c"

  /** All that is visible of a failure, its logs and its spans. */
  const shown = (
    options: KurrentOptions,
    use: (log: Effect.Success<ReturnType<typeof openLog>>) => Effect.Effect<unknown, unknown>
  ) =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const logger = Logger.make<unknown, void>((entry) => {
        seen.push(inspect(entry.message, { depth: 20 }), Cause.pretty(entry.cause))
      })
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const exit = yield* Effect.exit(Effect.scoped(Effect.flatMap(openLog(options), use))).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(Tracer.Tracer, tracer)
      )
      if (Exit.isFailure(exit)) {
        seen.push(inspect(exit, { depth: 20, showHidden: true }), Cause.pretty(exit.cause), JSON.stringify(exit) ?? "")
      }
      for (const span of spans)
        seen.push(span.name, inspect([...span.attributes], { depth: 20 }), inspect(span.status, { depth: 20 }))
      return { exit, text: seen.join("\n"), spans: spans.length }
    })

  const absent = (text: string) => {
    assert.notInclude(text, SECRET)
    assert.notInclude(text, Buffer.from(`ada:${SECRET}`).toString("base64"))
  }

  const nothing = () => Effect.void

  onFake("is in no error, log or span of a connection or of calls that fail", () =>
    Effect.gen(function* () {
      const right = yield* ownFake({ credentials: { user: "ada", password: SECRET } })
      const wrong = yield* ownFake({ credentials: { user: "ada", password: "another" } })
      const within = (text: string) => text.replace("://", `://ada:${SECRET}@`)
      const gone = yield* closedPort
      const attempts: ReadonlyArray<KurrentOptions> = [
        { connectionString: within(wrong.uri) },
        { connectionString: wrong.uri, username: "ada", password: Redacted.make(SECRET) },
        { connectionString: within(node(gone)), connectTimeout: "300 millis" },
        { connectionString: within(right.uri).replace("tls=false", "tls=maybe") },
        { connectionString: within(right.uri).replace("tls=false", "tls=false&nodePreference=nearest") },
        { connectionString: within(`${right.uri}&unknown=1`) },
        { connectionString: `kurrentdb://ada:${SECRET}` },
        { connectionString: `kurrentdb://ada:1?${SECRET}@127.0.0.1:${gone}` },
        { connectionString: within(right.uri), deadline: "soon" as never },
        { connectionString: within(right.uri), prefix: "-" },
        { connectionString: within(right.uri), rootCertificate: "/nowhere" }
      ]
      for (const options of attempts) {
        const { exit, text } = yield* shown(options, nothing)
        assert.isTrue(Exit.isFailure(exit), JSON.stringify(options))
        absent(text)
      }
      const calls = yield* shown(
        { connectionString: within(right.uri), deadline: "300 millis" },
        ({ recorder, store, repository }) =>
          Effect.gen(function* () {
            right.faults.silence("reads", "appends", "subscriptions")
            const failed = [
              yield* Effect.exit(recorder.append(newAppend("Dog-a"))),
              yield* Effect.exit(recorder.readAll({ limit: 1 })),
              yield* Effect.exit(store.head),
              inspect(repository, { depth: 20 })
            ]
            right.faults.answer()
            yield* Effect.promise(() => right.faults.clear())
            right.faults.refuse("appends", { code: 2, details: "no" })
            right.faults.refuse("reads", { code: 2, details: "no" })
            failed.push(
              yield* Effect.exit(recorder.append(newAppend("Dog-a"))),
              yield* Effect.exit(recorder.readAll({ limit: 1 }))
            )
            yield* Effect.logInfo(failed)
            return yield* Effect.fail(failed)
          })
      )
      absent(calls.text)
    })
  )
})

describe("options", () => {
  it.live.each([
    ["deadline", { deadline: "1 millis" }],
    ["deadline", { deadline: "soon" }],
    ["deadline", { deadline: Number.NaN }],
    ["deadline", { deadline: "30 days" }],
    ["deadline", { deadline: Number.POSITIVE_INFINITY }],
    ["deadline", { deadline: -1 }],
    ["connectTimeout", { connectTimeout: 0 }],
    ["connectTimeout", { connectTimeout: "forever" }],
    ["maxInFlight", { maxInFlight: 0 }],
    ["maxInFlight", { maxInFlight: 1.5 }],
    ["maxInFlight", { maxInFlight: Number.NaN }],
    ["prefix", { prefix: "a-" }],
    ["prefix", { prefix: "a b" }],
    ["prefix", { prefix: "$a" }],
    ["prefix", { prefix: "a".repeat(65) }],
    ["prefix", { prefix: "a\n" }]
  ] as ReadonlyArray<readonly [string, Partial<KurrentOptions>]>)(
    "that are out of range are a failure with their names: %s %o",
    ([name, options]) =>
      Effect.gen(function* () {
        const error = yield* failure({ connectionString: uri, ...options })
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.include(error.message, name)
      })
  )

  it.live.each([
    "",
    "http://localhost:2113",
    "kurrentdb://",
    "kurrentdb://a b",
    "kurrentdb://a:99999",
    "kurrentdb://a?x=1"
  ])("an invalid connection string is a failure: %s", (connectionString) =>
    Effect.gen(function* () {
      const error = yield* failure({ connectionString: Redacted.make(connectionString) })
      assert.deepInclude(error, { _tag: "RecorderFailure", operation: "connect to KurrentDB" })
    })
  )
})

describe("KurrentLayer.config", () => {
  const build = (env: Readonly<Record<string, string>>) =>
    Effect.map(
      Effect.provideService(
        Layer.build(Layer.fresh(KurrentLayer.config())),
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { ...env } })
      ) as Effect.Effect<
        Context.Context<KurrentServices>,
        EventSourcingError.RecorderError | Config.ConfigError,
        Scope.Scope
      >,
      Context.get(Recorder.Recorder)
    )

  it.live.each(["KURRENTDB_URI", "EVENTSTOREDB_URI"])("reads %s and KURRENTDB_PREFIX", (name) =>
    Effect.gen(function* () {
      const prefix = newPrefix()
      const recorder = yield* build({ [name]: uri, KURRENTDB_PREFIX: prefix })
      const append = newAppend("Dog-a")
      yield* recorder.append(append)
      const log = yield* openLog({ prefix })
      assert.strictEqual(log.recorder.logId, recorder.logId)
      assert.deepStrictEqual(yield* idsOf(log), [append.events[0].id])
    })
  )

  it.live("uses the newer name if both are set", () =>
    Effect.gen(function* () {
      const env = { KURRENTDB_URI: uri, EVENTSTOREDB_URI: "kurrentdb://127.0.0.1:1", KURRENTDB_PREFIX: newPrefix() }
      yield* (yield* build(env)).head
    })
  )

  onFake("reads KURRENTDB_URI, whose user and password override defaults in code", () =>
    Effect.gen(function* () {
      const tls = makeCertificates()
      const fake = yield* ownFake({ tls, credentials: { user: "ada", password: "right" } })
      const code = { username: "ben", password: Redacted.make("wrong") }
      const defaults = { ...code, prefix: newPrefix(), rootCertificate: tls.authority }
      const services = yield* Effect.provideService(
        Layer.build(Layer.fresh(KurrentLayer.config(defaults))),
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { KURRENTDB_URI: fake.uri.replace("://", "://ada:right@") } })
      )
      yield* Context.get(services, Recorder.Recorder).head
    })
  )

  onFake("has the same for multiStream, with defaults", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake({})
      const prefix = newPrefix()
      const services = yield* Effect.provideService(
        Layer.build(Layer.fresh(KurrentLayer.multiStream.config({ prefix, connectionString: "kurrentdb://a:1" }))),
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { KURRENTDB_URI: fake.uri } })
      )
      const append = newAppend("Dog-a")
      yield* Context.get(services, MultiStreamAppend.MultiStreamAppend).append([append])
      const log = yield* openLog({ prefix, connectionString: fake.uri })
      assert.deepStrictEqual(yield* idsOf(log), [append.events[0].id])
    })
  )

  onFake(
    "reads certificates as a path and as PEM, user and password, and durations, of which a plain number is seconds",
    () =>
      Effect.gen(function* () {
        const tls = makeCertificates()
        const credentials = { user: "ada", password: "p@ss:w/rd" }
        const fake = yield* ownFake({ tls, credentials })
        const path = Path.join(yield* temporaryDirectory, "ca.pem")
        Fs.writeFileSync(path, tls.authority)
        const env = { KURRENTDB_URI: fake.uri, KURRENTDB_USERNAME: "ada", KURRENTDB_PASSWORD: "p@ss:w/rd" }
        for (const [name, certificate] of [
          ["KURRENTDB_ROOT_CERTIFICATES", path],
          ["KURRENTDB_ROOT_CERTIFICATES", tls.authority],
          ["EVENTSTOREDB_ROOT_CERTIFICATES", path],
          ["EVENTSTOREDB_ROOT_CERTIFICATES", tls.authority]
        ] as const) {
          yield* Effect.scoped(
            build({ ...env, [name]: certificate, KURRENTDB_DEADLINE: "5", KURRENTDB_CONNECT_TIMEOUT: "3 seconds" })
          )
        }
        fake.faults.silence("reads")
        const silent = { ...env, KURRENTDB_ROOT_CERTIFICATES: path, KURRENTDB_DEADLINE: "0.25" }
        const [error, took] = yield* timed(Effect.flip(Effect.scoped(build(silent))))
        assert.include(String(error), "within 250 ms")
        assert.isBelow(took, ENDS)
      })
  )

  it.live("without an address it names the variable", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(build({})))
      assert.strictEqual(error._tag, "ConfigError")
      assert.match(String(error), /\bKURRENTDB_URI/)
    })
  )

  it.live.each([
    ["KURRENTDB_DEADLINE", "soon"],
    ["KURRENTDB_DEADLINE", "-3"],
    ["KURRENTDB_CONNECT_TIMEOUT", "a while"],
    ["KURRENTDB_PREFIX", "a-b"],
    ["KURRENTDB_URI", ""],
    ["KURRENTDB_PASSWORD", "alone"]
  ])("an invalid value is an error that names the variable: %s=%s", ([name, value]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(build({ KURRENTDB_URI: uri, [`${name}`]: `${value}` })))
      assert.match(
        String(error),
        new RegExp(`${name}|deadline|connectTimeout|prefix|connection string|only a password`)
      )
    })
  )

  it.live("variables that are empty count as not set", () =>
    Effect.gen(function* () {
      const prefix = newPrefix()
      const recorder = yield* build({
        KURRENTDB_URI: uri,
        KURRENTDB_PREFIX: prefix,
        KURRENTDB_ROOT_CERTIFICATES: "",
        KURRENTDB_USERNAME: "",
        KURRENTDB_PASSWORD: ""
      })
      yield* recorder.head
    })
  )
})

describe("closing the layer", () => {
  it.live("G10 a process that builds it, uses it and closes it ends on its own at once", () =>
    Effect.gen(function* () {
      const child = yield* Child.start("kurrent/support/useAndExit.ts", uri, newPrefix())
      assert.strictEqual(yield* child.line, "closed")
      const [, took] = yield* timed(child.end)
      assert.isBelow(took, ENDS)
    })
  )

  onFake("G10 a process whose calls are never answered also ends on its own after closing it", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      const child = yield* Child.start("kurrent/support/useAndExit.ts", fake.uri, newPrefix(), "silent")
      assert.strictEqual(yield* child.line, "opened")
      // a read that hangs in the client's native half would keep the process alive until its connection is lost
      fake.faults.silence("appends", "subscriptions")
      yield* child.send("go")
      assert.strictEqual(yield* child.line, "closed")
      const [, took] = yield* timed(child.end)
      assert.isBelow(took, ENDS)
    })
  )

  onFake("G10 leaks no connection and no subscription, and ends followers with the reason", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      const scope = yield* Scope.make()
      const log = yield* Scope.provide(openLog({ connectionString: fake.uri }), scope)
      yield* log.append("Dog-a")
      const seen = yield* watch(log)
      yield* seen.until(() => seen.ids.length === 1)
      assert.isAbove(fake.connections(), 0)
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(seen.until(() => false))
      assert.deepInclude(error as object, { _tag: "RecorderFailure", reason: "the log was closed" })
      yield* eventually(
        "it has no subscription",
        Effect.sync(() => fake.subscriptions() === 0)
      )
    })
  )
})
