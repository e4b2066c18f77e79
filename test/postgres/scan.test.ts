/** Scans of a log that grows between their statements. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Position, StreamName } from "effect-eventsourcing"
import * as Scan from "../../src/postgres/scan.ts"
import type { ReadAll } from "../../src/Recorder.ts"
import type { Notification } from "../../src/StoredEvent.ts"
import { storedEvent } from "../../src/testing/backend/events.ts"

const at = (position: bigint) => Position.Position.make(position)

/** A log in which some positions match a filter. `before` is called before each statement, with its number. */
const makeLog = (before: (log: Log, statement: number) => void) => {
  const log: Log = { matching: [], others: [] }
  let statements = 0
  const positions = () => [...log.matching, ...log.others].toSorted((a, b) => Number(a - b))
  const within =
    ({ after, upTo }: Pick<ReadAll, "after" | "upTo">) =>
    (position: bigint) =>
      position > (after ?? 0n) && (upTo === undefined || position <= upTo)
  const statement = <A>(answer: () => A): Effect.Effect<A> =>
    Effect.sync(() => {
      before(log, statements++)
      return answer()
    })
  const scan = Scan.make({
    page: (read) =>
      statement(() =>
        log.matching
          .filter(within(read))
          .slice(0, read.limit)
          .map(
            (position): Notification => ({
              ...storedEvent(),
              stream,
              version: Number(position),
              position: at(position)
            })
          )
      ),
    next: (range) =>
      statement(() => {
        const found = positions().find(within(range))
        return found === undefined ? undefined : at(found)
      }),
    head: statement(() => {
      const last = positions().at(-1)
      return last === undefined ? undefined : at(last)
    })
  })
  return { log, scan }
}

interface Log {
  readonly matching: Array<bigint>
  readonly others: Array<bigint>
}

const stream = StreamName.StreamName.make("Dog-a")
const filter = { types: ["Barked"] }

describe("a scan with a filter, of 10,000 positions with a statement", () => {
  it.effect.each([0, 1, 2, 3])("G3 skips no event that is appended before its statement %i", (when) =>
    Effect.gen(function* () {
      // the scan ends at the end of the log, which moves on while it is read
      const { log, scan } = makeLog(({ matching, others }, statement) => {
        if (statement !== when) return
        matching.push(10_000n)
        others.push(10_001n)
      })
      log.others.push(9_999n)
      let position: Position.Position | undefined
      const seen: Array<bigint> = []
      for (let n = 0; n < 5; n++) {
        const { notifications, reached } = yield* scan.some({ after: position, filter, limit: 10 })
        seen.push(...notifications.map((event) => event.position))
        position = reached ?? notifications.at(-1)?.position ?? position
      }
      assert.deepStrictEqual(seen, [10_000n])
    })
  )

  it.effect.each([0, 1, 2, 3])(
    "G3 a page has all events before its last one, also those appended before statement %i",
    (when) =>
      Effect.gen(function* () {
        const { log, scan } = makeLog(({ matching }, statement) => {
          if (statement === when) matching.push(10_000n, 10_001n)
        })
        log.others.push(9_999n)
        const page = yield* scan.all({ filter, limit: 10 })
        const seen = page.map((event) => event.position)
        assert.deepStrictEqual(seen, [10_000n, 10_001n].slice(0, seen.length))
      })
  )
})
