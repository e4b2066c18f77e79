import { assert, describe, it } from "@effect/vitest"
import * as Uuid from "../../../src/internal/encoding/uuid.ts"

describe("UUIDv5", () => {
  // from Python's uuid.uuid5(uuid.NAMESPACE_URL, name)
  const ids: ReadonlyArray<readonly [name: string, id: string]> = [
    ["/Dog/Fido", "e4013879-0e20-5a16-ab21-7d0f3f2c2378"],
    ["/Invoice/2026-117", "eda4309e-426b-5fb0-ad33-3bd044344afd"],
    ["/Dog/Zoë 🐕", "49e1fcfd-bb11-586c-b436-3e7fcde36a62"],
    // the boundaries of a block of the hash
    [`/Dog/${"x".repeat(34)}`, "91515c8b-4ba5-5db3-96ab-84246cb03e32"],
    [`/Dog/${"x".repeat(35)}`, "ef001f8a-52dd-5a9f-8030-6e484d0d5306"],
    [`/Dog/${"x".repeat(1000)}`, "02e918a6-4a06-506f-966a-17d3580ad417"]
  ]
  for (const [name, id] of ids) {
    it(`is ${id} for ${name.length > 40 ? `${name.length} characters` : name}`, () =>
      assert.strictEqual(Uuid.v5(name), id))
  }
})

describe("UUIDv7", () => {
  const form = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

  it("begins with the time", () => {
    // the example of RFC 9562, appendix A.6
    const id = Uuid.v7(0x017f22e279b0)
    assert.match(id, form)
    assert.strictEqual(id.slice(0, 15), "017f22e2-79b0-7")
    assert.strictEqual(Uuid.v7(0).slice(0, 15), "00000000-0000-7")
  })

  it("has the form of one at any time", () => {
    const times = [-1, -5000.5, 0.5, 1.7, 1_700_000_000_000.25, 8.64e15]
    for (const time of times) assert.match(Uuid.v7(time), form)
    assert.strictEqual(Uuid.v7(-1).slice(0, 15), "00000000-0000-7")
    assert.strictEqual(Uuid.v7(8.64e15).slice(0, 15), "ffffffff-ffff-7")
  })

  it("has 74 bits that are random", () => {
    const ids = Array.from({ length: 4000 }, () => Uuid.v7(1_700_000_000_000))
    assert.strictEqual(new Set(ids).size, 4000)
    const digits = Array.from({ length: 36 }, (_, at) => new Set(ids.map((id) => id[at])).size)
    // time, dashes, the version, and two bits of the variant
    const sizes = [...Array<number>(15).fill(1), 16, 16, 16, 1, 4, 16, 16, 16, 1, ...Array<number>(12).fill(16)]
    assert.deepStrictEqual(digits, sizes)
  })
})
