import type * as Projection from "../../Projection.ts"
import type { Progress } from "../../ViewStore.ts"

/**
 * The version that readers with a projection's definition read: their own version from when it has first caught up and
 * for as long as it exists, and until then the current one. For a side effect or an inline projection, only the current
 * version is kept up to date.
 */
export const readable = (
  { delivery, version }: Pick<Projection.Any, "delivery" | "version">,
  versions: ReadonlyArray<Progress>
): Progress | undefined => {
  const own = versions.find((progress) => progress.version === version)
  const isKept = own?.ready === true && own.mode === "followed" && delivery === "exactly-once"
  return isKept ? own : versions.find(({ status }) => status === "current")
}
