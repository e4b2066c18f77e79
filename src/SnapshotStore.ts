/**
 * Stores an aggregate's state, so that rebuilding it need not start at its first event.
 *
 * A snapshot whose state had a different schema under the same version is ignored, because its reducer was different,
 * too. A snapshot that can't be read (another version of the state's schema without a step to it, damaged bytes, a lost
 * key) is reported and ignored: it is only a copy, and the events still exist.
 */
import { Context, DateTime, Effect, Layer } from "effect"
import type * as Aggregate from "./Aggregate.ts"
import { Provisional } from "./Cipher.ts"
import type { RecorderError } from "./EventSourcingError.ts"
import { EventNotDecodable, EventNotEncodable, SNAPSHOT } from "./EventSourcingError.ts"
import { messageOf } from "./internal/errors/messageOf.ts"
import { otherValue } from "./internal/eventStore/codecs.ts"
import { fingerprint } from "./internal/schema/fingerprint.ts"
import { Mapper } from "./Mapper.ts"
import { SnapshotRecorder } from "./SnapshotRecorder.ts"
import * as StreamName from "./StreamName.ts"

/** An aggregate as stored in a snapshot. */
export interface Snapshot<Name extends string, out State> extends Aggregate.Instance<Name, State> {
  /** The id of the event at its version; absent if it was not stored. */
  readonly eventId?: string
}

/** Stores and finds snapshots. */
export class SnapshotStore extends Context.Service<
  SnapshotStore,
  {
    /** Stores the state of an aggregate in place of an older one. */
    readonly save: <A extends Aggregate.Any>(
      aggregate: A,
      instance: Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>>,
      /** The id of the event at the instance's version: it shows later whether that event still exists. */
      eventId?: string
    ) => Effect.Effect<void, EventNotEncodable | RecorderError>
    /** The snapshot of an aggregate; `undefined` if there is none, or if it can't be read, which is logged. */
    readonly load: <A extends Aggregate.Any>(
      aggregate: A,
      id: Aggregate.Id<Aggregate.NameOf<A>>
    ) => Effect.Effect<Snapshot<Aggregate.NameOf<A>, Aggregate.StateOf<A>> | undefined>
    /** The interval of snapshots for aggregates whose definition has none; `undefined` if these get no snapshots. */
    readonly snapshotEvery?: number | undefined
  }
>()("effect-eventsourcing/SnapshotStore") {}

/**
 * The prefix of a snapshot's encoding: the schema of its state, and the event it ends with. It is stored there and not
 * beside it: a program that does not know about it then can't leave it unchanged when it writes a state of its own.
 */
const withOrigin = (schema: string | undefined, eventId: string | undefined, encoding: string): string =>
  schema === undefined ? encoding : `${schema}${eventId === undefined ? "" : `@${eventId}`} ${encoding}`

const fingerprintOf = (aggregate: Aggregate.Any, version: number): string | undefined => {
  const schema = aggregate.compiled.state.schemaOf(version)
  return schema && fingerprint(schema)
}

/** Parses what {@link withOrigin} wrote; earlier snapshots have neither. */
const splitEncoding = (
  text: string
): { readonly schema: string | undefined; readonly eventId: string | undefined; readonly encoding: string } => {
  const [, schema, eventId, encoding = text] = /^([0-9a-f]{16})(?:@([0-9a-f-]+))? (.*)$/s.exec(text) ?? []
  return { schema, eventId, encoding }
}

/** The type that stands for a snapshot in errors and ciphers; no event has it. */
const typeOf = (aggregate: Aggregate.Any) => `${aggregate.name} ${SNAPSHOT}`

/** How snapshots are taken. */
export interface Options {
  /**
   * Saves a snapshot whenever this many events have been recorded, for aggregates whose definition has no
   * `snapshotEvery`: at least 1. Default: none.
   */
  readonly snapshotEvery?: number | undefined
}

/** The snapshot store on a snapshot recorder and a mapper. */
export const layerWith = ({
  snapshotEvery
}: Options = {}): Layer.Layer<SnapshotStore, never, SnapshotRecorder | Mapper> =>
  Layer.effect(
    SnapshotStore,
    Effect.gen(function* () {
      if (snapshotEvery !== undefined && !(Number.isInteger(snapshotEvery) && snapshotEvery > 0)) {
        throw new Error(`snapshotEvery must be a whole number of at least 1, got ${snapshotEvery}`)
      }
      const recorder = yield* SnapshotRecorder
      const mapper = yield* Mapper

      /** Within a transaction of the caller's, keys are requested in that transaction, too. */
      const withKeys = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
        Effect.contextWith((context: Context.Context<never>) =>
          recorder.inTransaction?.(context) === true ? Effect.provideService(self, Provisional, true) : self
        )

      const save = Effect.fnUntraced(function* <A extends Aggregate.Any>(
        aggregate: A,
        { id, version, state, createdAt, modifiedAt }: Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>>,
        eventId?: string
      ) {
        const stream = StreamName.of(aggregate.name, id)
        const type = typeOf(aggregate)
        const codec = aggregate.compiled.state
        const notEncodable = (cause: unknown) =>
          new EventNotEncodable({ stream, version, type, reason: messageOf(cause), cause })
        const json = yield* Effect.try({ try: () => codec.encode(state), catch: notEncodable })
        const encoded = yield* withKeys(mapper.encode([{ stream, version, type, schemaVersion: codec.version, json }]))
        const find = codec.differenceFinder()
        for (const one of encoded) {
          const path = yield* Effect.try({
            try: () => find?.(state, codec.decode(codec.version, mapper.readBack(one))),
            catch: notEncodable
          })
          if (path !== undefined) return yield* notEncodable(new Error(otherValue(path)))
          yield* recorder.save({
            stream,
            version,
            schemaVersion: codec.version,
            encoding: withOrigin(fingerprintOf(aggregate, codec.version), eventId, one.encoding),
            payload: one.payload,
            createdAt: createdAt.epochMilliseconds,
            modifiedAt: modifiedAt.epochMilliseconds
          })
        }
      })

      const load = <A extends Aggregate.Any>(aggregate: A, id: Aggregate.Id<Aggregate.NameOf<A>>) => {
        const stream = StreamName.of(aggregate.name, id)
        const read = Effect.fnUntraced(function* () {
          const stored = yield* recorder.load(stream)
          if (stored === undefined) return undefined
          const { schema, eventId, encoding } = splitEncoding(stored.encoding)
          const codec = aggregate.compiled.state
          const current = fingerprintOf(aggregate, stored.schemaVersion)
          if (schema !== undefined && current !== undefined && schema !== current) {
            yield* Effect.logInfo(
              `the snapshot of "${stream}" was taken of a state with another schema; its events are read instead`
            )
            return undefined
          }
          const [json] = yield* withKeys(mapper.decode([{ ...stored, encoding, type: typeOf(aggregate) }]))
          const { version } = stored
          return yield* Effect.try({
            try: () => ({
              id,
              version,
              state: codec.decode(stored.schemaVersion, json) as Aggregate.StateOf<A>,
              createdAt: DateTime.makeUnsafe(stored.createdAt),
              modifiedAt: DateTime.makeUnsafe(stored.modifiedAt),
              ...(eventId === undefined ? {} : { eventId })
            }),
            catch: (cause) => {
              const [type, reason] = [typeOf(aggregate), messageOf(cause)]
              return new EventNotDecodable({ stream, version, position: undefined, type, reason, cause })
            }
          })
        })
        return Effect.catch(read(), (error) =>
          Effect.as(
            Effect.logWarning(`the snapshot of "${stream}" can't be read; its events are read instead`, error),
            undefined
          )
        )
      }

      return SnapshotStore.of({ save, load, snapshotEvery })
    })
  )

/** {@link layerWith} without options. */
export const layer: Layer.Layer<SnapshotStore, never, SnapshotRecorder | Mapper> = layerWith()
