import type { DateTime } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { ExpectedVersion } from "../../Recorder.ts"

/** A state and what it was folded from. */
export interface LoadedState {
  readonly state: unknown
  readonly version: number
  /** The id of the event at this version; `undefined` if a snapshot of an earlier release does not contain it. */
  readonly eventId: string | undefined
  /**
   * When the oldest of the keys with which its events were decrypted was requested, in milliseconds since the epoch;
   * `Infinity` if nothing was encrypted.
   */
  readonly keysSince: number
  readonly createdAt: DateTime.Utc
  readonly modifiedAt: DateTime.Utc
}

/** A state that its holder may change without affecting the cached one. */
export const ownCopy = (aggregate: Aggregate.Any, loaded: LoadedState): LoadedState => {
  const state = aggregate.compiled.copyState(loaded.state)
  return state === loaded.state ? loaded : { ...loaded, state }
}

/** The version of the stream with this state. */
export const versionOf = (loaded: LoadedState | undefined): ExpectedVersion => loaded?.version ?? "NoStream"

/** The part of a state that callers get. */
export const toInstance = <A extends Aggregate.Any>(
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  { state, version, createdAt, modifiedAt }: LoadedState
): Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>> => ({
  id,
  state: state as Aggregate.StateOf<A>,
  version,
  createdAt,
  modifiedAt
})
