/** From options to a server that has answered. */
import { X509Certificate } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Duration, Scope } from "effect"
import { Effect, Redacted, Result } from "effect"
import * as Options from "../../internal/backend/options.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import type { Connection } from "../connection/connection.ts"
import * as Connections from "../connection/connection.ts"
import { parse } from "../connection/connectionString.ts"
import type { CallError } from "../connection/errors.ts"
import { isAccessDenied, orUnsupported } from "../connection/errors.ts"
import type { KurrentError } from "../connection/KurrentError.ts"
import { KurrentFailure, KurrentUnavailable } from "../connection/KurrentError.ts"
import { patiently, wasSilent } from "../connection/retryUnavailable.ts"
import { readStreamPage } from "./pages.ts"

/** How a server is connected to. What is given by itself takes precedence over what is in the connection string. */
export interface ConnectionOptions {
  /**
   * `kurrentdb://user:password@host:port?tls=true`, with the schemes `kurrentdb`, `kdb` and `esdb`, each with `+discover` for
   * a cluster that is found by its name; several hosts of a cluster are separated by commas. User and password are
   * percent-encoded. A bare `host:port` is a server without TLS.
   */
  readonly connectionString: Redacted.Redacted | string
  /** Default: as in the connection string, else none. */
  readonly username?: string | undefined
  /** Default: as in the connection string, else none. */
  readonly password?: Redacted.Redacted | undefined
  /** The certificates of authorities that are trusted, as PEM, or the path of a file with them. Default: Node's own. */
  readonly rootCertificate?: string | undefined
  /**
   * How long the server may be silent while a call is under way. Default: `defaultDeadline` of the connection string, else 10
   * seconds; at least 10 ms.
   */
  readonly deadline?: Duration.Input | undefined
  /** How many appends, and other calls that change something, are under way at once; others wait. Default 256. */
  readonly maxInFlight?: number | undefined
  /** How long connecting may take when the layer is built. Default 5 seconds; at least 10 ms. */
  readonly connectTimeout?: Duration.Input | undefined
}

const OPERATION = "connect to KurrentDB"

/** Connects, and makes sure that the server answers. */
export const connect = (options: ConnectionOptions): Effect.Effect<Connection, KurrentError, Scope.Scope> =>
  Effect.gen(function* () {
    const failure = (reason: string) => new KurrentFailure({ operation: OPERATION, reason })
    const milliseconds = (name: string, input: Duration.Input) =>
      Effect.mapError(Options.milliseconds(OPERATION, name, input, { least: 10 }), ({ reason }) => failure(reason))
    const timeout = yield* milliseconds("connectTimeout", options.connectTimeout ?? "5 seconds")
    const maxInFlight = options.maxInFlight ?? 256
    yield* Effect.mapError(Options.checkCount(OPERATION, "maxInFlight", maxInFlight, 1), ({ reason }) =>
      failure(reason)
    )
    const { connectionString, username, password, rootCertificate } = options
    const parsed = parse(typeof connectionString === "string" ? connectionString : Redacted.value(connectionString), {
      username,
      password: password === undefined ? undefined : Redacted.value(password),
      rootCertificate: rootCertificate === undefined ? undefined : yield* certificateFile(rootCertificate)
    })
    if (Result.isFailure(parsed)) return yield* Effect.fail(failure(parsed.failure))
    const { deadline: said, tls } = parsed.success
    const deadline = yield* options.deadline === undefined && said !== undefined
      ? milliseconds("defaultDeadline of the connection string", said)
      : milliseconds("deadline", options.deadline ?? "10 seconds")
    const connection = yield* Connections.make(parsed.success, deadline, maxInFlight)
    // an append of nothing is answered by a server that understands it, and by the client for one that does not
    const isThere = connection
      .ask(OPERATION, "", (client) => client.multiStreamAppend([]))
      .pipe(
        Effect.asVoid,
        Effect.catchIf(
          (error) => error._tag === "KurrentFailure" && !isAccessDenied(error),
          // by the client itself, which has not shown who asks
          (error) => (orUnsupported(error)._tag === "Unsupported" ? isLetIn(connection) : Effect.void)
        ),
        Effect.mapError((error) => {
          if (error._tag === "KurrentUnavailable" && isOfCertificate(error)) {
            return failure(`the certificate of the server is not trusted, see rootCertificate (${error.reason})`)
          }
          if (error._tag === "KurrentUnavailable" && isOfTls(error)) {
            const hint = tls
              ? "it was asked with TLS: a server without it needs tls=false in the connection string"
              : "it was asked without TLS: a server with it needs tls=true in the connection string"
            const { cause, operation, reason } = error
            return new KurrentUnavailable({ operation, reason: `${reason}; ${hint}`, cause })
          }
          return error._tag === "KurrentFailure" || error._tag === "KurrentUnavailable" ? error : failure(error.message)
        })
      )
    // it may be that it is slow to begin
    const patient = Effect.retry(patiently(isThere), { while: wasSilent })
    yield* Effect.timeoutOrElse(patient, {
      duration: timeout,
      orElse: () =>
        Effect.fail(new KurrentUnavailable({ operation: OPERATION, reason: `no answer within ${timeout} ms` }))
    })
    return connection
  })

/** Whether an older server lets the user in: it is asked for a stream that is not there. */
const isLetIn = (connection: Connection): Effect.Effect<void, CallError> =>
  readStreamPage(connection, "effect_eventsourcing_nobody", {
    ...{ direction: "forward", from: "start", limit: 1, resolveLinks: false }
  }).pipe(
    Effect.asVoid,
    Effect.catchTag("StreamNotFound", () => Effect.void)
  )

/** Whether a connection failed since the other side is not who it should be. */
const isOfCertificate = ({ cause }: KurrentUnavailable): boolean =>
  /certificate|self[- ]signed|altname|CERT_|issuer/i.test(messageOf(cause))

/** Whether there was somebody who did not understand, or hung up: with TLS and without it are two languages. */
const isOfTls = ({ cause }: KurrentUnavailable): boolean =>
  /ECONNRESET|EPROTO|wrong version number|socket hang up|protocol error|Failed to connect|Connection dropped|socket disconnected/i.test(
    messageOf(cause)
  )

/** The file of certificates that are given as a path or as text: both halves of the client read it themselves. */
const certificateFile = (given: string): Effect.Effect<string, KurrentFailure, Scope.Scope> => {
  const failure = (reason: string) => new KurrentFailure({ operation: OPERATION, reason })
  // half of the client takes the process with it where there is none in the file
  const check = (pem: string, what: string) =>
    Effect.try({
      try: () => void new X509Certificate(pem),
      catch: () => failure(`${what} is no certificate as PEM`)
    })
  if (!given.includes("-----BEGIN")) {
    const path = Path.resolve(given)
    const content = Effect.tryPromise({
      try: () => Fs.readFile(path, "utf8"),
      catch: () => failure(`the root certificate can't be read: ${path}`)
    })
    return Effect.as(
      Effect.flatMap(content, (pem) => check(pem, `the root certificate in ${path}`)),
      path
    )
  }
  const file = Effect.promise(async () => {
    const path = Path.join(await Fs.mkdtemp(Path.join(Os.tmpdir(), "kurrentdb-")), "ca.pem")
    await Fs.writeFile(path, given, { mode: 0o600 })
    return path
  })
  return Effect.andThen(
    check(given, "the root certificate"),
    Effect.acquireRelease(file, (path) =>
      Effect.promise(() => Fs.rm(Path.dirname(path), { recursive: true, force: true }))
    )
  )
}
