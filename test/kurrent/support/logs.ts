/** Logs on a KurrentDB server, as tests open them, and what their followers see. */
import type { Scope } from "effect"
import { Context, Effect, Fiber, Layer, Schedule, Stream } from "effect"
import type { EventSourcingError, Position, SnapshotRecorder } from "effect-eventsourcing"
import { EventStore, Recorder, Repository, SnapshotStore, StreamName } from "effect-eventsourcing"
import type { KurrentOptions, KurrentServices } from "effect-eventsourcing/kurrent"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import type { Fake, FakeOptions } from "../fake/server.ts"
import { startFake } from "../fake/server.ts"
import { newPrefix, uri } from "./server.ts"

/** A log, and the library on it. */
export interface Log {
  readonly recorder: Recorder.Recorder["Service"]
  readonly snapshotRecorder: Context.Context<SnapshotRecorder.SnapshotRecorder>
  readonly store: EventStore.EventStore["Service"]
  readonly snapshots: SnapshotStore.SnapshotStore["Service"]
  readonly repository: Repository.Repository["Service"]
  readonly prefix: string
  readonly built: Context.Context<KurrentServices>
  /** Appends events after the version that the stream has. */
  readonly append: (name: string, count?: number) => Effect.Effect<Recorder.Appended, unknown>
}

/** Opens a log with a connection of its own; a new log, unless a prefix is given. */
export const openLog = (
  options: Partial<KurrentOptions> = {}
): Effect.Effect<Log, EventSourcingError.RecorderError, Scope.Scope> =>
  Effect.gen(function* () {
    const prefix = options.prefix ?? newPrefix()
    const built = yield* Layer.build(Layer.fresh(KurrentLayer({ connectionString: uri, ...options, prefix })))
    const recorder = Context.get(built, Recorder.Recorder)
    const append = (name: string, count = 1) =>
      Effect.gen(function* () {
        const stream = StreamName.StreamName.make(name)
        const [last] = yield* recorder.readStream({ stream, direction: "backward", limit: 1 })
        return yield* recorder.append({ stream, expected: last?.version ?? "NoStream", events: storedEvents(count) })
      })
    return {
      recorder,
      snapshotRecorder: built,
      store: Context.get(built, EventStore.EventStore),
      snapshots: Context.get(built, SnapshotStore.SnapshotStore),
      repository: Context.get(built, Repository.Repository),
      prefix,
      built,
      append
    }
  })

/** A server for one test alone, whichever server the others use. */
export const ownFake = (options: FakeOptions = {}): Effect.Effect<Fake, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startFake(options)),
    ({ stop }) => Effect.promise(stop)
  )

/** An append of new events to a stream that does not exist. */
export const newAppend = (name: string, count = 1): Recorder.Append => ({
  stream: StreamName.StreamName.make(name),
  expected: "NoStream",
  events: storedEvents(count)
})

/** The ids of all events of a log, in order. */
export const idsOf = ({ recorder }: Pick<Log, "recorder">) =>
  Effect.map(recorder.readAll({ limit: 1_000_000 }), (events) => events.map(({ id }) => id))

/** What a follower has seen. */
export interface Seen {
  /** The ids of the events, in the order in which they arrived. */
  readonly ids: ReadonlyArray<string>
  /** The states that it has reported. */
  readonly states: ReadonlyArray<Recorder.FollowState>
  /** The position that it has reported last. */
  readonly position: () => Recorder.FollowBatch["position"]
  /**
   * Waits until a condition holds; checks it whenever something is delivered or reported, and fails if the follower has
   * ended.
   */
  readonly until: (holds: () => boolean) => Effect.Effect<void, unknown>
  /**
   * Waits until it has reached a position, or a later one: with a filter, it may report the position of a record of
   * another program on the same server.
   */
  readonly untilReached: (wanted: Position.Position | undefined) => Effect.Effect<void, unknown>
}

/** Follows a log; fails if a position arrives that is not after the last one, of events or of batches. */
export const watch = (
  { recorder }: Pick<Log, "recorder">,
  follow: Recorder.Follow = {}
): Effect.Effect<Seen, never, Scope.Scope> =>
  Effect.gen(function* () {
    const ids: Array<string> = []
    const states: Array<Recorder.FollowState> = []
    const waiting = new Set<() => void>()
    let last = follow.after
    let position = follow.after
    const look = () => {
      for (const one of waiting) one()
    }
    const onState = (state: Recorder.FollowState) =>
      Effect.sync(() => {
        states.push(state)
        look()
      })
    const fiber = yield* recorder.follow({ ...follow, onState }).pipe(
      Stream.runForEach((batch) =>
        Effect.sync(() => {
          for (const notification of batch.notifications) {
            if (last !== undefined && notification.position <= last)
              throw new Error(`position ${notification.position} came behind ${last}`)
            if (position !== undefined && notification.position <= position)
              throw new Error(`position ${notification.position} came when ${position} had been told`)
            last = notification.position
            ids.push(notification.id)
          }
          if (batch.position === undefined ? last !== undefined : last !== undefined && batch.position < last)
            throw new Error(`the position ${batch.position} was told behind ${last}`)
          if (position !== undefined && (batch.position === undefined || batch.position < position))
            throw new Error(`the position ${batch.position} was told after ${position}`)
          position = batch.position
          look()
        })
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    const reached = (holds: () => boolean) =>
      Effect.callback<void>((resume) => {
        const one = () => {
          if (holds()) resume(Effect.void)
        }
        waiting.add(one)
        one()
        return Effect.sync(() => waiting.delete(one))
      })
    const until = (holds: () => boolean) =>
      Effect.raceFirst(reached(holds), Effect.andThen(Fiber.join(fiber), Effect.never))
    return {
      ids,
      states,
      position: () => position,
      until,
      untilReached: (wanted) => until(() => wanted === undefined || (position !== undefined && position >= wanted))
    }
  })

/** How often an attempt is repeated while its server is coming back; the limit is that of the test. */
export const again = Schedule.spaced("20 millis")
