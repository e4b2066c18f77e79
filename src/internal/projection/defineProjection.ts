/** Compiles the definition of a projection: checks it, and adds the setup of its view to its handlers. */
import { Cause, Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure, RecorderUnavailable } from "../../EventSourcingError.ts"
import type * as Projection from "../../Projection.ts"
import type * as View from "../../View.ts"
import type { Mode } from "../../ViewStore.ts"
import { messageOf } from "../errors/messageOf.ts"
import { isTransient } from "../errors/transient.ts"
import type { Handled } from "./compileHandlers.ts"
import { effectOf } from "./compileHandlers.ts"
import { handling } from "./handling.ts"

interface Definition<K extends View.Any> {
  readonly version?: number
  readonly aggregates: ReadonlyArray<Aggregate.Any>
  readonly view: K
  readonly from?: Projection.Start
}

/**
 * The source text of a definition. Two projections with the same name and different source texts are different
 * projections.
 */
const sourceOf = (definition: Definition<View.Any>): string =>
  JSON.stringify(definition, (key, value: unknown) => {
    if (key === "aggregates") return definition.aggregates.map((aggregate) => aggregate.name)
    return typeof value === "function" || typeof value === "bigint" ? String(value) : value
  })

/** Checks a definition, and throws if it is invalid. */
export const build = <K extends View.Any, M extends Mode, D extends Projection.Delivery, R>(
  name: string,
  definition: Definition<K>,
  mode: M,
  delivery: D,
  handled: Handled<R>
): Projection.Projection<K, M, D, R> => {
  const { version = 1, aggregates, view, from } = definition
  if (!/^[a-z][a-z0-9_]{0,39}$/.test(name)) {
    throw new Error(
      `invalid projection name "${name}": it must be 1 to 40 lower-case letters, digits or "_", and begin with a letter`
    )
  }
  if (/_v[0-9]+(_|$)/.test(name)) {
    throw new Error(
      `invalid projection name "${name}": it must not contain "_v" followed by a number, which marks versions`
    )
  }
  if (!(Number.isInteger(version) && version > 0 && version < 1_000_000)) {
    throw new Error(`projection "${name}": version must be a whole number from 1 to 999999, got ${version}`)
  }
  if (!(from === undefined || from === "start" || from === "end" || (typeof from === "bigint" && from >= 0n))) {
    throw new Error(`projection "${name}": from must be "start", "end" or a position, got ${String(from)}`)
  }
  const names = new Set(aggregates.map((aggregate) => aggregate.name))
  if (names.size < aggregates.length) throw new Error(`projection "${name}" names the same aggregate twice`)
  const setup =
    view._tag === "Memory"
      ? (memoryView: unknown) => (memoryView as View.MemoryView<unknown>).set(view.initial())
      : (sqlView: unknown) => handling(effectOf(name, view.setup(sqlView as View.SqlView)))
  let source: string | undefined
  return {
    ...{ name, version, aggregates, view, mode, delivery, from },
    compiled: {
      ...handled,
      source: () => {
        source ??= sourceOf(definition)
        return source
      },
      // what a handler throws is a failure like any other
      handle: (events, memoryOrSql, progress) => Effect.suspend(() => handled.handle(events, memoryOrSql, progress)),
      setup: (memoryOrSql) =>
        Effect.catchCause(
          Effect.suspend((): Effect.Effect<unknown, unknown, unknown> => setup(memoryOrSql)),
          (cause) =>
            Cause.hasInterruptsOnly(cause)
              ? Effect.failCause(cause as Cause.Cause<never>)
              : Effect.fail(setupFailed(name, Cause.squash(cause)))
        )
    }
  } as Projection.Projection<K, M, D, R>
}

const setupFailed = (name: string, cause: unknown): RecorderError => {
  const failure = { operation: `set up the view of projection "${name}"`, reason: messageOf(cause), cause }
  return isTransient(cause) ? new RecorderUnavailable(failure) : new RecorderFailure(failure)
}
