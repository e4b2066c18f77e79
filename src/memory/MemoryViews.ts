/** Views as values in memory. */
import { Clock, Effect, Exit, Layer, Semaphore } from "effect"
import {
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  RecorderFailure,
  TrackingConflict
} from "../EventSourcingError.ts"
import { beginAgain, beginAt, continues } from "../internal/projection/beginAt.ts"
import { refusal } from "../internal/projection/handling.ts"
import { ignoredFrom } from "../internal/projection/ignored.ts"
import { makeLocalProgress } from "../internal/projection/localProgress.ts"
import { keyText } from "../internal/projection/trackingKey.ts"
import type { Position } from "../Position.ts"
import * as Tracking from "../Tracking.ts"
import type { MemoryReader, MemoryView } from "../View.ts"
import type { DeadLetter, Mode, Opened, Progress, Seen, Status, Transaction, ViewStore } from "../ViewStore.ts"
import { MemoryViewStore } from "../ViewStore.ts"

/** A version of a projection. */
interface Entry {
  readonly key: Tracking.Key
  readonly mode: Mode
  status: Status
  ready: boolean
  position: Position | undefined
  seen: Seen | undefined
  ignored: ReadonlyArray<string> | undefined
  begins: string | undefined
  logId: string | undefined
  aggregates: ReadonlyArray<string>
  state: unknown
  letters: ReadonlyArray<DeadLetter>
  lease: { readonly holder: string; readonly until: number } | undefined
}

/** The end of a move that ends earlier than planned. */
interface End {
  readonly position: Position
  readonly seen: Seen | undefined
}

/** For how long the work of a transaction continues, in milliseconds, so that progress becomes visible. */
const HOLD = 1000

/** A place for views in memory. Each build of the layer has its own, which is gone when the process ends. */
export const MemoryViews = (): Layer.Layer<MemoryViewStore> => Layer.sync(MemoryViewStore, makeStore)

const makeStore = () => {
  const entries = new Map<string, Entry>()
  const leases = new Map<string, { readonly holder: string; readonly until: number }>()
  const localProgress = makeLocalProgress()
  /** One transaction at a time: what handlers change in between belongs to no other transaction. */
  const semaphore = Semaphore.makeUnsafe(1)
  const exclusively = semaphore.withPermit

  const versionsOf = ({ projection, upstream, slice }: Omit<Tracking.Key, "version">): Array<Entry> =>
    [...entries.values()]
      .filter(({ key }) => key.projection === projection && key.upstream === upstream && key.slice === slice)
      .sort((a, b) => a.key.version - b.key.version)
  const currentOf = (key: Omit<Tracking.Key, "version">) => versionsOf(key).find(({ status }) => status === "current")
  const progressOf = ({ key, position, status, ready, mode, logId, aggregates }: Entry): Progress => ({
    version: key.version,
    position,
    status,
    ready: ready || status === "current",
    mode,
    logId,
    aggregates
  })

  const openedOf = (entry: Entry): Opened => ({ ...progressOf(entry), seen: entry.seen, ignored: entry.ignored })

  /** Works on a copy, which replaces the values of the entry once everything has succeeded. */
  const withDraft = <A, E, R>(
    entry: Entry,
    work: (view: MemoryView<unknown>, transaction: Transaction) => Effect.Effect<A, E, R>,
    done: (end: End | undefined) => void
  ): Effect.Effect<A, E, R> =>
    Effect.clockWith((clock) => {
      let { state, letters } = entry
      let isOver = false
      /** A change after the end would be lost. The calls that make one can't fail, and so they die. */
      const assertOpen = () => {
        if (isOver) throw refusal()
      }
      let end: End | undefined
      const until = clock.currentTimeMillisUnsafe() + HOLD
      const view: MemoryView<unknown> = {
        get: Effect.sync(() => {
          assertOpen()
          return state
        }),
        set: (next) =>
          Effect.sync(() => {
            assertOpen()
            state = next
          }),
        update: (f) =>
          Effect.sync(() => {
            assertOpen()
            state = f(state)
          }),
        version: entry.key.version
      }
      const transaction: Transaction = {
        setAside: (letter) =>
          Effect.sync(() => {
            letters = [...letters, letter]
          }),
        isSetAside: (stream) => Effect.sync(() => letters.some((letter) => letter.stream === stream)),
        discard: (stream) =>
          Effect.sync(() => {
            const kept = letters.filter((letter) => letter.stream !== stream)
            const discarded = letters.length - kept.length
            letters = kept
            return discarded
          }),
        left: () => until - clock.currentTimeMillisUnsafe(),
        endAt: (position, seen) =>
          Effect.sync(() => {
            end = { position, seen }
          })
      }
      return Effect.onExitPrimitive(work(view, transaction), (exit) => {
        isOver = true
        if (Exit.isFailure(exit)) return undefined
        entry.state = state
        entry.letters = letters
        done(end)
        return undefined
      })
    })

  /** Lower versions are no longer kept up to date; with `keep`, those that have a runner still are. */
  const retireBelow = (key: Tracking.Key, keep: boolean) => {
    for (const older of versionsOf(key)) {
      // a version that is being built continues, and is also ready once it has caught up
      if (older.key.version >= key.version || (keep && older.status === "building")) continue
      older.ready = keep && (older.ready || older.status === "current")
      older.status = "retired"
    }
  }

  const superseded = ({ projection, version }: Tracking.Key, by: number) =>
    new ProjectionSuperseded({ projection, version, by })

  const store: ViewStore<MemoryView<unknown>, never> = {
    localProgress,

    open: (key, { mode, logId, aggregates, setup, beginning, ignored = [], existing = false, beside = false }) =>
      exclusively(
        Effect.gen(function* () {
          const current = currentOf(key)
          const there = entries.get(keyText(key))
          const isOver = there?.status === "retired" || (current !== undefined && current.key.version > key.version)
          if (isOver && !(beside && there !== undefined)) {
            return yield* superseded(key, current?.key.version ?? key.version)
          }
          if (there !== undefined) {
            const { projection, version } = key
            if (there.mode !== mode) {
              return yield* new ProjectionModeChanged({ projection, version, mode: there.mode })
            }
            if (there.status === "retired" && !there.ready) there.status = "building"
            if (there.logId === undefined) {
              const begun = beginAgain(beginning, openedOf(there), logId)
              Object.assign(there, { aggregates, ...begun, begins: beginning?.from })
            }
            const opened = openedOf(there)
            there.ignored = ignoredFrom(opened, ignored) ?? there.ignored
            return opened
          }
          if (existing) {
            const { projection, version } = key
            return yield* new ProjectionRemoved({ projection, version })
          }
          const isCurrent = beginning !== undefined || current === undefined
          const before = current === undefined ? undefined : { ...openedOf(current), begins: current.begins }
          const made: Entry = {
            ...{
              key,
              mode,
              status: isCurrent ? "current" : "building",
              ready: false,
              ignored,
              aggregates,
              ...beginAt(beginning, before, logId)
            },
            ...{ state: undefined, letters: [], lease: undefined }
          }
          return yield* Effect.as(
            withDraft(made, setup, () => {
              entries.set(keyText(key), made)
              if (beginning === undefined) return
              // from now on, this version is responsible for the dead letters
              if (current !== undefined && continues(beginning, before)) {
                made.letters = current.letters
                current.letters = []
              }
              retireBelow(key, false)
              localProgress(key.projection).switched()
            }),
            openedOf(made)
          )
        })
      ),

    versions: (key) => Effect.sync(() => versionsOf(key).map(progressOf)),

    transact: ({ key, from, to, seen }, work) =>
      exclusively(
        Effect.gen(function* () {
          const refused = Tracking.refusal({ key, from, to })
          if (refused !== undefined) {
            return yield* new RecorderFailure({ operation: "move a tracking position", reason: refused })
          }
          const entry = entries.get(keyText(key))
          if (entry?.status === "retired" && !entry.ready) {
            return yield* superseded(key, currentOf(key)?.key.version ?? key.version)
          }
          if (entry === undefined || entry.position !== from) {
            const { projection, upstream } = key
            return yield* new TrackingConflict({ projection, upstream, expected: from, actual: entry?.position })
          }
          return yield* withDraft(entry, work, (end = { position: to, seen }) => {
            Object.assign(entry, end)
            localProgress(key.projection).reached(key.version, end.position)
          })
        })
      ),

    note: (key, seen) =>
      exclusively(
        Effect.sync(() => {
          const entry = entries.get(keyText(key))
          if (entry?.position === seen.position) entry.seen = seen
        })
      ),

    read: (key, read) =>
      Effect.suspend(() => {
        const entry = entries.get(keyText(key))
        const view: MemoryReader<unknown> = {
          get: Effect.sync(() => entry?.state),
          version: key.version
        }
        return read(view as MemoryView<unknown>)
      }),

    promote: (key, { keep = false } = {}) =>
      exclusively(
        Effect.sync(() => {
          const entry = entries.get(keyText(key))
          if (entry === undefined || entry.status !== "building") return entry?.status === "current"
          const current = currentOf(key)
          if (current !== undefined) {
            if (current.position !== undefined && (entry.position ?? -1n) < current.position) return false
            if (current.key.version > key.version) {
              Object.assign(entry, { status: "retired", ready: keep })
              return false
            }
          }
          retireBelow(key, keep)
          Object.assign(entry, { status: "current", ready: keep })
          localProgress(key.projection).switched()
          return true
        })
      ),

    reset: (key, setup) =>
      exclusively(
        Effect.suspend(() => {
          const entry = entries.get(keyText(key))
          if (entry === undefined) return Effect.succeed(false)
          return Effect.as(
            withDraft(entry, setup, () => {
              entry.position = undefined
              entry.seen = undefined
              entry.ignored = undefined
              entry.logId = undefined
              entry.letters = []
              localProgress(key.projection).forget(key.version)
            }),
            true
          )
        })
      ),

    remove: (of, { current = false } = {}) =>
      exclusively(
        Effect.sync(() => {
          const doomed = versionsOf(of).filter(
            ({ key, status }) =>
              of.version === undefined || (key.version === of.version && (current || status !== "current"))
          )
          for (const { key } of doomed) {
            entries.delete(keyText(key))
            leases.delete(keyText(key))
          }
          if (doomed.some(({ status }) => status === "current")) {
            const left = versionsOf(of).filter(({ ready }) => ready)
            const next = left[left.length - 1]
            if (next !== undefined) next.status = "current"
          }
          for (const { key } of doomed) localProgress(key.projection).forget(key.version)
          return doomed.length > 0
        })
      ),

    deadLetters: (key, stream) =>
      Effect.sync(() =>
        (entries.get(keyText(key))?.letters ?? []).filter((letter) => stream === undefined || letter.stream === stream)
      ),

    takeBack: (key, position, work) =>
      exclusively(
        Effect.suspend(() => {
          const entry = entries.get(keyText(key))
          const letter = entry?.letters.find((one) => one.position === position)
          const isFirst = entry?.letters.find(({ stream }) => stream === letter?.stream) === letter
          if (entry === undefined || letter === undefined || !isFirst) return Effect.succeed(false)
          return Effect.as(
            withDraft(entry, work, () => {
              entry.letters = entry.letters.filter((one) => one !== letter)
            }),
            true
          )
        })
      ),

    discard: (key, what) =>
      exclusively(
        Effect.sync(() => {
          const entry = entries.get(keyText(key))
          if (entry === undefined) return 0
          const { length } = entry.letters
          entry.letters = entry.letters.filter((letter) =>
            "eventId" in what ? letter.eventId !== what.eventId : letter.stream !== what.stream
          )
          return length - entry.letters.length
        })
      ),

    triedAgain: (key, position, cause) =>
      exclusively(
        Effect.sync(() => {
          const entry = entries.get(keyText(key))
          if (entry === undefined) return
          entry.letters = entry.letters.map((letter) =>
            letter.position === position ? { ...letter, attempts: letter.attempts + 1, cause } : letter
          )
        })
      ),

    lease: (key, holder, milliseconds) =>
      // not the time of day, which can be set
      Effect.map(Clock.monotonicTimeNanos, (nanos) => {
        const now = Number(nanos / 1_000_000n)
        const name = keyText(key)
        const there = leases.get(name)
        if (there !== undefined && there.holder !== holder && there.until > now) return false
        if (milliseconds > 0) leases.set(name, { holder, until: now + milliseconds })
        else leases.delete(name)
        return milliseconds > 0
      })
  }
  return store
}
