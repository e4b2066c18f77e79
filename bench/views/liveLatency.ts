import type { Scope } from "effect"
import { Effect, Queue } from "effect"
import type { Sides } from "../compare.ts"
import { comparisonOf, takeTurns } from "../compare.ts"
import type { OrderId } from "../order.ts"
import { orderIds } from "../order.ts"
import { collectGarbage } from "../timing.ts"
import type { Appended, AppendItem } from "./appendItem.ts"
import { appendItem } from "./appendItem.ts"
import type { Commits } from "./commits.ts"
import { makeCommits } from "./commits.ts"
import type { Measured, ViewScenario } from "./Scenario.ts"
import type { Place, Site } from "./Site.ts"

/** How long it took from an append's answer until the view was committed with its event, in seconds; 0 where it was by then. */
interface Latency {
  readonly p50: number
  readonly p99: number
}

const latencyOf = (milliseconds: ReadonlyArray<number>): Latency => {
  const sorted = [...milliseconds].sort((a, b) => a - b)
  const at = (share: number) => Math.max(sorted[Math.floor((sorted.length - 1) * share)] as number, 0) / 1000
  return { p50: at(0.5), p99: at(0.99) }
}

/** Something keeps a view up: noted is what it commits; it is told of each append, in case that it has to be. */
type KeepUp = Effect.Effect<
  { readonly commits: Commits; readonly appended: Effect.Effect<unknown> },
  unknown,
  Scope.Scope
>

const runner = (site: Site): KeepUp =>
  Effect.gen(function* () {
    const commits = makeCommits()
    yield* site.run("singly", 1, commits)
    return { commits, appended: Effect.void }
  })

/** Raw: a loop that is told in this process, and reads and writes as the runner does. */
const loop = (site: Site, after: number): KeepUp =>
  Effect.gen(function* () {
    const commits = makeCommits()
    const told = yield* Queue.sliding<void>(1)
    const { position, step } = yield* site.loop("singly", after)
    yield* Effect.gen(function* () {
      while (true) {
        if ((yield* step) === 0) yield* Queue.take(told)
        else commits.note(position())
      }
    }).pipe(Effect.orDie, Effect.forkScoped)
    return { commits, appended: Queue.offer(told, undefined) }
  })

/** An append after the other, each when the one before is in the view. */
const oneAtATime =
  (count: number, id: OrderId) =>
  (append: AppendItem, { commits, appended }: Effect.Success<KeepUp>) =>
    Effect.gen(function* () {
      const took: Array<number> = []
      for (let n = 0; n < count; n++) {
        const { at, position } = yield* append(id)
        yield* appended
        took.push((yield* commits.reached(position)) - at)
      }
      return took
    })

const LANES = 20
const PER_SECOND = 1000
const SECONDS = 1

/** So many events a second, from several sides, each at its time whatever has become of the others. */
const steadily =
  (ids: ReadonlyArray<OrderId>) =>
  (append: AppendItem, { commits, appended }: Effect.Success<KeepUp>) =>
    Effect.gen(function* () {
      const answers: Array<Appended> = []
      const began = performance.now()
      const every = (LANES * 1000) / PER_SECOND
      yield* Effect.forEach(
        ids,
        Effect.fnUntraced(function* (id, lane) {
          for (let n = 0; n < (PER_SECOND * SECONDS) / LANES; n++) {
            const due = began + (lane * every) / LANES + n * every
            yield* Effect.sleep(Math.max(due - performance.now(), 0))
            answers.push(yield* append(id))
            yield* appended
          }
        }),
        { concurrency: "unbounded", discard: true }
      )
      const took: Array<number> = []
      for (const { position, at } of answers) took.push((yield* commits.reached(position)) - at)
      return took
    })

/** From an append's answer until the view is committed, with the appends in one process with the runner. */
export const liveLatency: ViewScenario = {
  name: "live-latency",
  measure: (place: Place, rounds) =>
    Effect.gen(function* () {
      const site = yield* place.newSite
      const ids = orderIds(LANES)
      const append = yield* appendItem(site)
      let end = 0
      const noted: AppendItem = (id) =>
        Effect.tap(append(id), ({ position }) =>
          Effect.sync(() => {
            end = Math.max(end, position)
          })
        )
      // they are opened, and what is measured adds items
      yield* Effect.forEach(ids, noted)
      const measure = Effect.fnUntraced(function* (
        name: string,
        run: (append: AppendItem, keptUp: Effect.Success<KeepUp>) => Effect.Effect<ReadonlyArray<number>, unknown>
      ) {
        const side = (keepUp: Effect.Effect<KeepUp>) =>
          Effect.gen(function* () {
            const keptUp = yield* yield* keepUp
            // it is live when it has an event that was appended since it began
            const { position } = yield* noted(ids[0] as OrderId)
            yield* keptUp.appended
            yield* keptUp.commits.reached(position)
            yield* collectGarbage
            return latencyOf(yield* run(noted, keptUp))
          }).pipe(Effect.scoped)
        const sides: Sides<Latency> = {
          ours: side(Effect.sync(() => runner(site))),
          other: side(Effect.sync(() => loop(site, end)))
        }
        const measured = yield* takeTurns(`${place.name} ${name}`, Effect.succeed(sides), rounds)
        const unit = "µs"
        const row = (quantile: keyof Latency): Measured => ({
          name: `${name} ${quantile}`,
          unit,
          comparison: comparisonOf(measured, (latency) => latency[quantile] * 1e6)
        })
        return [row("p50"), row("p99")]
      })
      return [
        ...(yield* measure("live-latency", oneAtATime(place.awaited, ids[0] as OrderId))),
        ...(yield* measure("live-latency-1000/s", steadily(ids)))
      ]
    }).pipe(Effect.scoped)
}
