/**
 * Follows events without decoding them. An index needs to know which aggregates have changed, not what the events
 * contain: one that can't be decoded, or is unknown here, must not delay the others.
 */
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { Mapper } from "../../Mapper.ts"
import type { CompiledEvent } from "../aggregate/compiled.ts"

const tag = "Recorded"

const event: CompiledEvent = {
  tag,
  type: tag,
  creates: false,
  codec: {
    // from any newer program
    version: Number.MAX_SAFE_INTEGER,
    encode: (value) => value,
    decode: () => ({}),
    differenceFinder: () => undefined,
    schemaOf: () => undefined
  },
  construct: () => ({ _tag: tag })
}

/** The same event for every type. */
class AnyType extends Map<string, CompiledEvent> {
  override has(): boolean {
    return true
  }
  override get(): CompiledEvent {
    return event
  }
}

const byType = new AnyType()

/** The aggregate, whose events are all alike. */
export const unopened = (aggregate: Aggregate.Any): Aggregate.Any => ({
  ...aggregate,
  compiled: { ...aggregate.compiled, byTag: new Map([[tag, event]]), byType }
})

/** Leaves payloads as they are. */
export const unopenedMapper: Mapper["Service"] = {
  // an index records no events
  encode: () => Effect.succeed([]),
  readBack: () => undefined,
  decode: (recorded) => Effect.succeed(recorded.map(() => undefined))
}
