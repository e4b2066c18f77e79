/** A log on a KurrentDB server. */
import { randomUUID } from "node:crypto"
import { Context, Effect, Layer, Schedule } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure } from "../../EventSourcingError.ts"
import { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import { Recorder } from "../../Recorder.ts"
import { SnapshotRecorder } from "../../SnapshotRecorder.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import { Connected } from "../client/Connected.ts"
import { toClientEvent } from "../client/events.ts"
import type { Connection } from "../connection/connection.ts"
import { orUnsupported } from "../connection/errors.ts"
import { KurrentUnavailable } from "../connection/KurrentError.ts"
import { retryUnavailable, wasSilent } from "../connection/retryUnavailable.ts"
import * as Appends from "./appends.ts"
import * as Following from "./follow.ts"
import type { Log } from "./log.ts"
import * as Logs from "./log.ts"
import type { Names } from "./names.ts"
import { isPrefix, make } from "./names.ts"
import { toRecorderError } from "./recorderErrors.ts"
import { snapshots } from "./snapshots.ts"
import * as TrackedAppends from "./tracked.ts"

/** The services that the KurrentDB recorder provides. */
export type Services = Recorder | SnapshotRecorder

/** How a log is stored on a server. */
export interface Options {
  /**
   * The prefix of the names of the log's streams on the server, which lets several applications share one server: at
   * most 64 letters, digits and `_ . :`. Default: none. The log is then all streams of the server that are named
   * `<Aggregate>-<id>`.
   */
  readonly prefix?: string | undefined
}

const OPERATION = "configure KurrentDB"

const open = Effect.fnUntraced(function* ({ prefix = "" }: Options) {
  const connection = yield* Connected
  if (!isPrefix(prefix)) {
    const reason = `the option prefix must be at most 64 letters, digits, "_", "." or ":", got "${prefix}"`
    return yield* Effect.fail(new RecorderFailure({ operation: OPERATION, reason }))
  }
  const names = make(prefix)
  const log = Logs.make(connection, names)
  const appends = Appends.make(connection, names, log)
  // the server may be slow to start
  yield* Effect.retry(log.check, {
    while: ({ cause }) => cause instanceof KurrentUnavailable && wasSilent(cause),
    schedule: Schedule.upTo(Schedule.spaced("50 millis"), { duration: "2 seconds" })
  })
  const recorder = Recorder.of({
    append: appends.append,
    readStream: log.readStream,
    readAll: log.readAll,
    follow: yield* Following.make(connection, names, log),
    head: log.head,
    paging: { size: Logs.PAGE, ahead: true },
    logId: yield* logIdOf(connection, names, log)
  })
  const services = Context.make(Recorder, recorder).pipe(
    Context.add(SnapshotRecorder, snapshots(connection, names, log))
  )
  return { connection, names, log, appends, services }
})

/** The log on a server. It gets an id when it is opened for the first time. */
export const layer = (options: Options = {}): Layer.Layer<Services, RecorderError, Connected> =>
  Layer.effectContext(Effect.map(open(options), ({ services }) => services))

/** {@link Services}, and the services for appends to several streams at once. */
export type MultiStreamServices = Services | MultiStreamAppend | TrackedAppend

/** {@link layer} with appends to several streams. Building the layer checks that the server supports them. */
export const layerMultiStream = (options: Options = {}): Layer.Layer<MultiStreamServices, RecorderError, Connected> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { appends, connection, log, names, services } = yield* open(options)
      yield* proveMultiStream(connection)
      return services.pipe(
        Context.add(MultiStreamAppend, MultiStreamAppend.of({ append: appends.appendToStreams })),
        Context.add(TrackedAppend, TrackedAppends.make(connection, names, log, appends))
      )
    })
  )

/** The client can tell a server that lacks the call from one that refuses to append nothing. */
const proveMultiStream = (connection: Connection): Effect.Effect<void, RecorderError> =>
  Effect.catch(
    Effect.asVoid(connection.ask(OPERATION, "", (client) => client.multiStreamAppend([]))),
    (error): Effect.Effect<void, RecorderError> =>
      error._tag === "KurrentUnavailable" || orUnsupported(error)._tag === "Unsupported"
        ? Effect.fail(toRecorderError(OPERATION, error))
        : Effect.void
  )

/** The id of the log, assigned when the log is first opened. */
const logIdOf = (connection: Connection, names: Names, log: Log): Effect.Effect<string, RecorderError> =>
  Effect.gen(function* () {
    const [first] = yield* log.readServerStream(names.log, { direction: "forward", from: "start", limit: 1 })
    if (first?.event !== undefined) return first.event.id
    const id = randomUUID()
    const event = toClientEvent({ id, type: "log", data: { id } })
    const assign = connection.write("open the log", names.log, (client) =>
      client.appendToStream(names.log, [event], { streamState: "no_stream", deadline: connection.deadline })
    )
    return yield* Effect.matchEffect(retryUnavailable(assign), {
      onSuccess: () => Effect.succeed(id),
      onFailure: (error) =>
        // another process was first
        error._tag === "WrongExpectedRevision"
          ? logIdOf(connection, names, log)
          : Effect.fail(toRecorderError("open the log", error))
    })
  })
