import type * as Projection from "../../Projection.ts"
import type * as Tracking from "../../Tracking.ts"

/** What tracking calls the log: a view is made from one. */
const UPSTREAM = "log"

/** The key of a projection's tracking. */
export const keyOf = ({ name, version }: Pick<Projection.Any, "name" | "version">): Tracking.Key => ({
  projection: name,
  version,
  upstream: UPSTREAM,
  slice: 0
})
