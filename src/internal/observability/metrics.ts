/** The library's metrics; docs/observability.md lists them. */
import { Context, Effect, Metric } from "effect"

/** The attribute `unit` becomes the unit of the exported metric. */
const described = (name: string, unit: string, description: string) =>
  [`effect_eventsourcing_${name}`, { description, attributes: { unit } }] as const

const counter = (...described_: Parameters<typeof described>) => {
  const [id, options] = described(...described_)
  return Metric.counter(id, { ...options, incremental: true })
}

const gauge = (...described_: Parameters<typeof described>) => Metric.gauge(...described(...described_))

/** Events that handlers have processed, by `projection`. */
export const projected = counter("events_projected_total", "{event}", "events that a projection has processed")

/** Failed attempts of a projection, by `projection`. */
export const retries = counter(
  "projection_retries_total",
  "{attempt}",
  "failed attempts of a projection to process an event, or to reach its log or view"
)

/** Events that were set aside as dead letters, by `projection`. */
export const setAside = counter("events_set_aside_total", "{event}", "events that a projection has set aside")

/** Events that a process has handled, by `process`. */
export const causes = counter("process_causes_total", "{event}", "events that a process has handled")

/** Batches of a process that were planned in vain, because they conflicted, by `process`. */
export const conflictsOfProcess = counter(
  "process_conflicts_total",
  "{batch}",
  "batches of a process that another writer or runner was before"
)

/** By how many positions a projection lags, by `projection`. */
export const lagPositions = gauge(
  "projection_lag_positions",
  "{position}",
  "positions between the end of the log and what a projection has processed"
)

/** The age of the event that was processed last, or that is next, by `projection`. */
export const lagSeconds = gauge(
  "projection_lag_seconds",
  "s",
  "age of the event that a projection processed last, or that blocks it; 0 when it has reached the end"
)

/** The state of a runner, by `projection`, `version` and `state`: 1 for the current state, 0 for earlier ones. */
const state = gauge(
  "projection_state",
  "1",
  "1 for the current state of a projection's runner, 0 for its earlier states"
)

/** The state of a process's runner, by `process`, `version` and `state`: 1 for the current state, 0 for earlier ones. */
const processState = gauge(
  "process_state",
  "1",
  "1 for the state that a process's runner is in, 0 for those that it has left"
)

/** The age of the event that a process has handled last, by `process`. */
export const processLagSeconds = gauge(
  "process_lag_seconds",
  "s",
  "age of the event that a process has handled last; 0 when it has come to the end"
)

/** Decisions of a deadline that were recorded, by `deadline`. */
export const deadlineDecisions = counter(
  "deadline_decisions_total",
  "{decision}",
  "decisions of a deadline that were recorded"
)

/** Failed attempts of a deadline, by `deadline`. */
export const deadlineRetries = counter(
  "deadline_retries_total",
  "{attempt}",
  "failed attempts of a deadline to decide on an aggregate, or to read its index"
)

/** How late decisions are, by `deadline`. */
export const deadlineLateness = gauge(
  "deadline_lateness_seconds",
  "s",
  "how late the decision that a deadline recorded last was; 0 when nothing is due"
)

/** Aggregates on which a deadline fails, by `deadline`. */
export const deadlineFailing = gauge(
  "deadline_failing_aggregates",
  "{aggregate}",
  "aggregates on which a deadline fails to decide"
)

/** The state of a deadline's runner, by `deadline`, `version` and `state`: 1 for the current state, 0 for earlier ones. */
const deadlineState = gauge(
  "deadline_state",
  "1",
  "1 for the current state of a deadline's runner, 0 for its earlier states"
)

const states = { projection: state, process: processState, deadline: deadlineState }

/** What is known about the runners of a registry, by their attributes. */
interface Runners {
  /** The last state of each, so that only one state is at 1, whichever runner reports it. */
  readonly last: Map<string, string>
  /** The numbers in use by runners that share a name. */
  readonly taken: Map<string, Set<number>>
}

const runners = new WeakMap<Metric.MetricRegistry, Runners>()

/** The runners of the registry and the metric attributes of this scope. */
const runnersHere = Effect.contextWith((context: Context.Context<never>) => {
  const registry = Context.get(context, Metric.MetricRegistry)
  const found = runners.get(registry) ?? { last: new Map(), taken: new Map() }
  runners.set(registry, found)
  return Effect.succeed({ ...found, keyOf: keyIn(Context.get(context, Metric.CurrentMetricAttributes)) })
})

const keyIn = (outer: Metric.Metric.AttributeSet) => (attributes: Metric.Metric.AttributeSet) =>
  JSON.stringify([outer, attributes].map((set) => Object.entries(set).sort(([a], [b]) => (a < b ? -1 : 1))))

/** Reports the state of a runner: of a projection, a process or a deadline. */
export const reportingState = (attributes: Metric.Metric.AttributeSet, of: keyof typeof states = "projection") => {
  const update = (name: string, value: number) =>
    Metric.update(Metric.withAttributes(states[of], { ...attributes, state: name }), value)
  return (next: string): Effect.Effect<void> =>
    Effect.flatMap(runnersHere, ({ last, keyOf }) => {
      const key = keyOf(attributes)
      const left = last.get(key)
      if (left === next) return Effect.void
      last.set(key, next)
      return left === undefined ? update(next, 1) : Effect.andThen(update(left, 0), update(next, 1))
    })
}

/** The attributes of a runner in metrics while it runs. */
export interface Labels {
  readonly attributes: Metric.Metric.AttributeSet
  readonly release: Effect.Effect<void>
}

/**
 * The attributes of a runner: the name and the version. If other runners in this process share them, as those of
 * several tenants do, `runner` is a number, starting at 2.
 */
export const labelsOf = (projection: Parameters<typeof attributesOf>[0]): Effect.Effect<Labels> =>
  labelsFor(attributesOf(projection))

/** The same for the runners of something else. */
export const labelsFor = (attributes: Metric.Metric.AttributeSet): Effect.Effect<Labels> =>
  Effect.map(runnersHere, ({ taken, keyOf }) => {
    const key = keyOf(attributes)
    const numbers = taken.get(key) ?? new Set()
    taken.set(key, numbers)
    let number = 1
    while (numbers.has(number)) number++
    numbers.add(number)
    return {
      attributes: number === 1 ? attributes : { ...attributes, runner: `${number}` },
      release: Effect.sync(() => {
        numbers.delete(number)
      })
    }
  })

/** What distinguishes the runners of projections. */
export const attributesOf = ({ name, version }: { readonly name: string; readonly version: number }) => ({
  projection: name,
  version: `${version}`
})

/** The counters of commands. */
const ofCommands = {
  appends: counter("appends_total", "{append}", "appends that were recorded, to one stream or to several at once"),
  events: counter("events_appended_total", "{event}", "events that were recorded"),
  conflicts: counter(
    "append_conflicts_total",
    "{append}",
    "appends that were refused because a stream was not at the expected version"
  ),
  cacheHits: counter("cache_hits_total", "{lookup}", "states of aggregates that were found in the cache"),
  cacheMisses: counter(
    "cache_misses_total",
    "{lookup}",
    "states of aggregates that were looked up in the cache and had to be rebuilt"
  )
}

/** The values of the metrics of commands. */
export type Counts = { -readonly [K in keyof typeof ofCommands]: number }

/** Counts that nobody reads. */
export const uncounted = (): Counts => ({ appends: 0, events: 0, conflicts: 0, cacheHits: 0, cacheMisses: 0 })

/** The counts of each registry, by the metric attributes of the scope that requests them. */
const known = new WeakMap<Metric.MetricRegistry, Map<string, Counts>>()

/**
 * The counts of the metric registry and the metric attributes of this scope, to be incremented.
 *
 * A command on the memory backend takes a few microseconds, and `Metric.update` takes 0.3 µs for each metric. Therefore
 * these are plain numbers, which the registry reads on demand: it is the registry of the scope that builds the layer.
 */
export const counts: Effect.Effect<Counts> = Effect.contextWith((context: Context.Context<never>) =>
  Effect.sync(() => {
    const registry = Context.get(context, Metric.MetricRegistry)
    const attributes = Object.entries(Context.get(context, Metric.CurrentMetricAttributes))
    const key = JSON.stringify(attributes.sort(([a], [b]) => (a < b ? -1 : 1)))
    const ofRegistry = known.get(registry) ?? new Map<string, Counts>()
    known.set(registry, ofRegistry)
    const counted = ofRegistry.get(key)
    if (counted !== undefined) return counted
    const fresh = uncounted()
    ofRegistry.set(key, fresh)
    for (const name of Object.keys(ofCommands) as ReadonlyArray<keyof Counts>) {
      const get = () => ({ count: fresh[name], incremental: true })
      Metric.registerUnsafe(ofCommands[name], context, { get, update: ignore, modify: ignore })
    }
    return fresh
  })
)

const ignore = (): void => undefined
