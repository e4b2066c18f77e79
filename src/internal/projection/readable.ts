import type * as Projection from "../../Projection.ts"
import type { Progress } from "../../ViewStore.ts"

/**
 * The version that those who are defined with a projection read: their own as soon as it has been level, and for as long as it
 * is there; the current one until then. Of a side effect, and inline, only the current one is kept up.
 */
export const readable = (
  { delivery, version }: Pick<Projection.Any, "delivery" | "version">,
  versions: ReadonlyArray<Progress>
): Progress | undefined => {
  const own = versions.find((one) => one.version === version)
  const isKept = own?.ready === true && own.mode === "followed" && delivery === "exactly-once"
  return isKept ? own : versions.find(({ status }) => status === "current")
}
