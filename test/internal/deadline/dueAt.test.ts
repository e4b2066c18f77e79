import { assert, describe, it } from "@effect/vitest"
import { DateTime } from "effect"
import { toMillis } from "../../../src/internal/deadline/dueAt.ts"

describe("when something is due", () => {
  it("is a millisecond, never before the time itself", () => {
    assert.strictEqual(toMillis(1000), 1000)
    assert.strictEqual(toMillis(1000.001), 1001)
    assert.strictEqual(toMillis(-1.5), -1)
    assert.strictEqual(toMillis(Number.NEGATIVE_INFINITY), -8_640_000_000_000_000)
  })

  it("is the same for a time in any time zone", () => {
    const utc = DateTime.makeUnsafe("2030-01-01T12:00:00Z")
    assert.strictEqual(toMillis(utc), Date.parse("2030-01-01T12:00:00Z"))
    assert.strictEqual(toMillis(DateTime.setZoneNamedUnsafe(utc, "Europe/Berlin")), toMillis(utc))
  })

  it("is never for undefined, and for times that no date can be", () => {
    assert.strictEqual(toMillis(undefined), undefined)
    assert.strictEqual(toMillis(Number.POSITIVE_INFINITY), undefined)
    assert.strictEqual(toMillis(Number.MAX_SAFE_INTEGER), undefined)
  })

  it("is not what is not a time", () => {
    for (const due of [Number.NaN, "2030-01-01", null, new Date(0)]) {
      assert.throws(() => toMillis(due as number), /due must return a time/)
    }
  })
})
