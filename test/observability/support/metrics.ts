/** The values of the library's metrics. */
import { Effect, Metric } from "effect"

const prefix = "effect_eventsourcing_"

/** A metric registry for one test, instead of the one that is shared within a process. */
export const ownRegistry = Effect.provideServiceEffect(
  Metric.MetricRegistry,
  Effect.sync(() => new Map())
)

/** The library's metrics, by their names without its prefix. */
export const snapshots = Effect.map(Metric.snapshot, (all) =>
  all
    .filter(({ id }) => id.startsWith(prefix))
    .map((snapshot) => ({ ...snapshot, name: snapshot.id.slice(prefix.length) }))
)

/** The values of the counters and gauges with these attributes. */
export const values = (attributes: Metric.Metric.AttributeSet = {}) =>
  Effect.map(snapshots, (all) =>
    Object.fromEntries(
      all
        .filter((metric) => Object.entries(attributes).every(([key, value]) => metric.attributes?.[key] === value))
        .flatMap((metric) =>
          metric.type === "Counter"
            ? [[metric.name, metric.state.count]]
            : metric.type === "Gauge"
              ? [[metric.name, metric.state.value]]
              : []
        )
    )
  )
