/** One log in memory, and the library opened on it as often as a test needs: each opening is like a process. */
import { Context, Effect, Layer, Logger } from "effect"

import {
  EventSourcing,
  EventSourcingError,
  EventStore,
  Mapper,
  Recorder,
  Repository,
  SnapshotRecorder,
  SnapshotStore
} from "effect-eventsourcing"
import * as Memory from "effect-eventsourcing/memory"

/** The recorders of a log. */
export type Log = Context.Context<Memory.Services>

/** A new log in memory. */
export const makeLog = Layer.build(Layer.fresh(Memory.layerRecorders))

/** The same log through a recorder with some operations replaced. */
export const withRecorder = (
  log: Log,
  change: (recorder: Recorder.Recorder["Service"]) => Partial<Recorder.Recorder["Service"]>
): Log => {
  const recorder = Context.get(log, Recorder.Recorder)
  return Context.add(log, Recorder.Recorder, Recorder.Recorder.of({ ...recorder, ...change(recorder) }))
}

/** The same log through a snapshot recorder with some operations replaced. */
export const withSnapshotRecorder = (
  log: Log,
  change: (
    recorder: SnapshotRecorder.SnapshotRecorder["Service"]
  ) => Partial<SnapshotRecorder.SnapshotRecorder["Service"]>
): Log => {
  const recorder = Context.get(log, SnapshotRecorder.SnapshotRecorder)
  return Context.add(
    log,
    SnapshotRecorder.SnapshotRecorder,
    SnapshotRecorder.SnapshotRecorder.of({ ...recorder, ...change(recorder) })
  )
}

/** Counts the calls of a recorder. */
export const counting = (log: Log) => {
  const calls = { append: 0, readStream: 0 }
  const counted = withRecorder(log, (recorder) => ({
    append: (append) =>
      Effect.suspend(() => {
        calls.append++
        return recorder.append(append)
      }),
    readStream: (read) =>
      Effect.suspend(() => {
        calls.readStream++
        return recorder.readStream(read)
      })
  }))
  return { log: counted, calls }
}

/** Lets other fibers run before each operation, like a recorder that waits for a disk. */
export const yielding = (log: Log): Log =>
  withRecorder(log, (recorder) => ({
    append: (append) => Effect.andThen(Effect.yieldNow, recorder.append(append)),
    readStream: (read) => Effect.andThen(Effect.yieldNow, recorder.readStream(read))
  }))

/** The library on a log, its parts by name. */
export interface Process {
  readonly store: EventStore.EventStore["Service"]
  readonly snapshots: SnapshotStore.SnapshotStore["Service"]
  readonly repository: Repository.Repository["Service"]
  readonly mapper: Mapper.Mapper["Service"]
}

/** Opens the library on a log, with a cache and locks of its own. */
export const open = Effect.fnUntraced(function* <E = never>(log: Log, options: EventSourcing.Options<E> = {}) {
  const built = yield* Effect.provideContext(Layer.build(Layer.fresh(EventSourcing.layer(options))), log)
  const process: Process = {
    store: Context.get(built, EventStore.EventStore),
    snapshots: Context.get(built, SnapshotStore.SnapshotStore),
    repository: Context.get(built, Repository.Repository),
    mapper: Context.get(built, Mapper.Mapper)
  }
  return process
})

/** Collects what is logged, as text. */
export const capturingLogs = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    lines.push(`${logLevel}: ${[message].flat().map(String).join(" ")}`)
  })
  return { lines, layer: Logger.layer([logger]) }
}

/**
 * Loses the responses of the first appends: each is recorded, or with `recorded: false` is not, and ends as if its
 * connection had been lost. Counts all appends.
 */
export const losingAnswers = (
  log: Log,
  { recorded = true, times }: { readonly recorded?: boolean; readonly times: number }
) => {
  const calls = { append: 0 }
  const lost = new EventSourcingError.RecorderUnavailable({ operation: "append", reason: "the connection was lost" })
  const losing = withRecorder(log, (recorder) => ({
    append: (append) =>
      Effect.suspend(() =>
        ++calls.append > times
          ? recorder.append(append)
          : Effect.andThen(recorded ? recorder.append(append) : Effect.void, Effect.fail(lost))
      )
  }))
  return { log: losing, calls }
}
