/** The positions that an append returns. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { RecorderError } from "../../../EventSourcingError.ts"
import type { Position } from "../../../Position.ts"
import type { Append, Recorder } from "../../../Recorder.ts"
import type { Backend } from "../Backend.ts"
import { readLog } from "./reading.ts"

/** What an append returned. */
interface Returned {
  readonly position: Position | undefined
  readonly positions?: ReadonlyArray<ReadonlyArray<Position>> | undefined
}

/** Checks that the positions that appends returned are those at which their events are read. */
export const assertPositions = (
  { knowsPositions = false }: Pick<Backend<unknown>, "knowsPositions">,
  recorder: Recorder["Service"],
  appends: ReadonlyArray<Append>,
  { position, positions }: Returned
): Effect.Effect<void, RecorderError> =>
  Effect.gen(function* () {
    const positionOf = new Map((yield* readLog(recorder)).map(({ id, position }) => [id, position]))
    const expected = appends.map(({ events }) => events.map(({ id }) => positionOf.get(id)))
    const all = expected.flat().sort((a, b) => Number((a ?? 0n) - (b ?? 0n)))
    assert.strictEqual(position, all[all.length - 1])
    if (knowsPositions || all.length === 1) assert.isDefined(positions)
    if (positions !== undefined) {
      assert.deepStrictEqual(
        positions.map((some) => [...some]),
        expected
      )
    }
  })
