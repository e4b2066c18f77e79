import { DateTime } from "effect"
import type * as Aggregate from "../Aggregate.ts"
import * as Metadata from "../Metadata.ts"
import type { Section } from "./internal/recording.ts"
import type { EventsIn } from "./types.ts"

/** Events of one aggregate instance, in order, that are given or expected. */
export class StreamEvents implements Section {
  readonly aggregate: Aggregate.Any
  readonly id: string
  readonly events: ReadonlyArray<Aggregate.AnyEvent>
  /** In milliseconds since the epoch; `undefined` is one second after the event before. */
  readonly recordedAt: number | undefined
  readonly metadata: Metadata.Metadata

  /** @internal */
  constructor({ aggregate, events, id, metadata, recordedAt }: Section) {
    this.aggregate = aggregate
    this.id = id
    this.events = events as ReadonlyArray<Aggregate.AnyEvent>
    this.recordedAt = recordedAt
    this.metadata = metadata
  }

  /**
   * The same events, recorded at this time. By default, the first of all given events is recorded at the start of the
   * year 2000 (UTC), and each further one a second after the one before.
   */
  at(time: DateTime.DateTime.Input): StreamEvents {
    return new StreamEvents({ ...this, recordedAt: DateTime.toEpochMillis(DateTime.makeUnsafe(time)) })
  }

  /** The same events, recorded with this metadata; fields that are left out are empty. */
  with(metadata: Partial<Metadata.Metadata>): StreamEvents {
    return new StreamEvents({ ...this, metadata: { ...this.metadata, ...metadata } })
  }
}

/** Events of the aggregate instance with this id. */
export const stream = <A extends Aggregate.Any, const Es extends ReadonlyArray<Aggregate.AnyEvent>>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  ...events: Es & EventsIn<A, Es>
): StreamEvents => new StreamEvents({ aggregate, id, events, recordedAt: undefined, metadata: Metadata.empty })
