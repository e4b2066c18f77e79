/** Turns options into a connection to a server that has answered. */
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
import { retryUnavailable, wasSilent } from "../connection/retryUnavailable.ts"
import type { ConnectionOptions } from "./ConnectionOptions.ts"
import { readStreamPage } from "./pages.ts"

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
    // a server that supports batched appends answers an empty append; for one that does not, the client answers
    const isThere = connection
      .ask(OPERATION, "", (client) => client.multiStreamAppend([]))
      .pipe(
        Effect.asVoid,
        Effect.catchIf(
          (error) => error._tag === "KurrentFailure" && !isAccessDenied(error),
          // the client answered on its own, so the credentials have not been checked
          (error) => (orUnsupported(error)._tag === "Unsupported" ? isLetIn(connection) : Effect.void)
        ),
        Effect.mapError((error) => {
          if (error._tag === "KurrentUnavailable" && isOfCertificate(error)) {
            return failure(
              `the certificate of the server is not trusted; see the option rootCertificate (${error.reason})`
            )
          }
          if (error._tag === "KurrentUnavailable" && isOfTls(error)) {
            const hint = tls
              ? "the connection used TLS; for a server without TLS, write tls=false in the connection string"
              : "the connection did not use TLS; for a server with TLS, write tls=true in the connection string"
            const { cause, operation, reason } = error
            return new KurrentUnavailable({ operation, reason: `${reason}; ${hint}`, cause })
          }
          return error._tag === "KurrentFailure" || error._tag === "KurrentUnavailable" ? error : failure(error.message)
        })
      )
    // the server may be slow to start
    const patient = Effect.retry(retryUnavailable(isThere), { while: wasSilent })
    yield* Effect.timeoutOrElse(patient, {
      duration: timeout,
      orElse: () =>
        Effect.fail(new KurrentUnavailable({ operation: OPERATION, reason: `no answer within ${timeout} ms` }))
    })
    return connection
  })

/** Whether an older server lets the user in: a stream that does not exist is read from it. */
const isLetIn = (connection: Connection): Effect.Effect<void, CallError> =>
  readStreamPage(connection, "effect_eventsourcing_nobody", {
    ...{ direction: "forward", from: "start", limit: 1, resolveLinks: false }
  }).pipe(
    Effect.asVoid,
    Effect.catchTag("StreamNotFound", () => Effect.void)
  )

/** Whether a connection failed because the other side could not prove its identity. */
const isOfCertificate = ({ cause }: KurrentUnavailable): boolean =>
  /certificate|self[- ]signed|altname|CERT_|issuer/i.test(messageOf(cause))

/** Whether the other side did not understand, or hung up, as happens if only one of the two uses TLS. */
const isOfTls = ({ cause }: KurrentUnavailable): boolean =>
  /ECONNRESET|EPROTO|wrong version number|socket hang up|protocol error|Failed to connect|Connection dropped|socket disconnected/i.test(
    messageOf(cause)
  )

/**
 * The file with certificates that are given as a path or as text: both halves of the client read the file themselves.
 */
const certificateFile = (given: string): Effect.Effect<string, KurrentFailure, Scope.Scope> => {
  const failure = (reason: string) => new KurrentFailure({ operation: OPERATION, reason })
  // one half of the client ends the process if the file contains no certificate
  const check = (pem: string, what: string) =>
    Effect.try({
      try: () => void new X509Certificate(pem),
      catch: () => failure(`${what} is not a certificate in PEM format`)
    })
  if (!given.includes("-----BEGIN")) {
    const path = Path.resolve(given)
    const content = Effect.tryPromise({
      try: () => Fs.readFile(path, "utf8"),
      catch: () => failure(`the root certificate "${path}" can't be read`)
    })
    return Effect.as(
      Effect.flatMap(content, (pem) => check(pem, `the root certificate "${path}"`)),
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
