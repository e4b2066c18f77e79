import type * as Projection from "../../Projection.ts"
import type * as Tracking from "../../Tracking.ts"

/** The log's name in tracking: a view is built from one log. */
const UPSTREAM = "log"

/** The key of a projection's tracking. */
export const trackingKey = ({ name, version }: Pick<Projection.Any, "name" | "version">): Tracking.Key => ({
  projection: name,
  version,
  upstream: UPSTREAM,
  slice: 0
})

/** A key as text, for use in maps. */
export const keyText = ({ projection, version, upstream, slice }: Tracking.Key): string =>
  JSON.stringify([projection, version, upstream, slice])
