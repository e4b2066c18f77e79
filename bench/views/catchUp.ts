import { Effect } from "effect"
import type { Sides } from "../compare.ts"
import { comparisonOf, takeTurns } from "../compare.ts"
import { fill } from "../fill.ts"
import { orderIds } from "../order.ts"
import { rate, timed } from "../timing.ts"
import { makeCommits } from "./commits.ts"
import type { Measured, ViewScenario } from "./Scenario.ts"
import type { MakeLoop, Place, Site, Way } from "./Site.ts"
import { PAGE } from "./Site.ts"

const ORDERS = 100
const EVENTS = 200_000

const wrong = (who: string, counted: number, events: number) =>
  Effect.die(new Error(`${who} counted ${counted} things of ${events}`))

/** A view that is made anew from the start of the log; `events` of its first ones are waited for. */
const sidesOf = (site: Site, way: Way, events: number): Sides => {
  // an order is opened where its first page begins
  const pageOfOrder = 500
  const opened = Math.min(Math.ceil(events / pageOfOrder), ORDERS)
  const things = events - opened
  let version = 0
  const loop = (who: string, make: MakeLoop) =>
    Effect.gen(function* () {
      const { counted, position, step } = yield* make(way, 0)
      const measured = yield* timed(
        events,
        Effect.gen(function* () {
          while (position() < events) yield* step
        })
      )
      const count = yield* counted
      return count === things ? measured : yield* wrong(who, count, things)
    }).pipe(Effect.scoped)
  return {
    ours: Effect.gen(function* () {
      yield* site.clean(way)
      version++
      const commits = makeCommits()
      const measured = yield* Effect.scoped(
        timed(
          events,
          Effect.gen(function* () {
            yield* site.run(way, version, commits)
            yield* commits.reached(events)
          })
        )
      )
      const count = yield* site.counted(way, version)
      // it has gone on meanwhile
      return count >= things ? measured : yield* wrong("the library", count, things)
    }),
    other: loop("the loop", site.loop),
    third: site.driver && loop("the driver's loop", site.driver)
  }
}

/** The log's first events up to a full page, so that the runner's transaction ends where they do. */
const wholePages = (events: number) => events - (events % PAGE)

/**
 * Catches up with a log of 200,000 events, as a new version of a view does: with a handler for each event, and with one for
 * all of a batch; raw: the same pages, parsed, and the same statements in the same transactions, in a loop.
 */
export const catchUp: ViewScenario = {
  name: "catch-up",
  measure: (place: Place, rounds) =>
    Effect.gen(function* () {
      const site = yield* place.newSite
      yield* Effect.provide(fill(orderIds(ORDERS), EVENTS / ORDERS), site.services)
      const measure = Effect.fnUntraced(function* (name: string, way: Way, events: number) {
        const sides = Effect.succeed(sidesOf(site, way, events))
        const measured = yield* takeTurns(`${place.name} ${name}`, sides, rounds)
        const unit = "events/s"
        const row: Measured = { name, unit, comparison: comparisonOf(measured, rate) }
        if (site.driver === undefined) return [row]
        return [row, { name: `${name}, driver`, unit, comparison: comparisonOf(measured, rate, "third") }]
      })
      return [
        ...(yield* measure("catch-up", "singly", Math.min(wholePages(place.singly), EVENTS))),
        ...(yield* measure("catch-up-batched", "batched", EVENTS))
      ]
    }).pipe(Effect.scoped)
}
