/** What the library counts and measures; docs/observability.md lists it. */
import { Metric } from "effect"

const counter = (name: string, description: string) =>
  Metric.counter(`effect_eventsourcing_${name}`, { description, incremental: true })

/** Events that handlers have dealt with, by `projection`. */
export const projected = counter("events_projected_total", "events that a projection has handled")

/** Failed attempts of a projection, by `projection`. */
export const retries = counter("projection_retries_total", "attempts of a projection that failed and are made again")

/** Events that were set aside, by `projection`. */
export const setAside = counter("events_set_aside_total", "events that a projection has set aside")

/** By how much a projection is behind, by `projection`. */
export const lagPositions = Metric.gauge("effect_eventsourcing_projection_lag_positions", {
  description: "positions between the end of the log and what a projection has processed"
})

/** For how long the newest event that is not processed has been recorded, by `projection`. */
export const lagSeconds = Metric.gauge("effect_eventsourcing_projection_lag_seconds", {
  description: "age in seconds of the event that a projection has just processed, 0 when it has come to the end"
})
