import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Exit, Schema } from "effect"
import { StreamName } from "effect-eventsourcing"

const dog = "🐕" // four bytes of UTF-8, two units of UTF-16
const euro = "€" // three bytes, one unit
const highSurrogate = "\ud83d"
const lowSurrogate = "\udc15"

/** Text of any UTF-16 units, most of them unpaired surrogates. */
const anyUnits = Arbitrary.map(
  Arbitrary.array(
    Arbitrary.schema(
      Schema.Union([
        Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7f })),
        Schema.Int.check(Schema.isBetween({ minimum: 0xd7f0, maximum: 0xe00f }))
      ])
    ),
    { maxLength: 400 }
  ),
  (units) => String.fromCharCode(...units)
)

describe("StreamName", () => {
  it.each([
    ["one letter each", "D-1"],
    ["the convention", "Dog-rex"],
    ["spaces, quotes and control characters", "Dog-a b'c\"d\n\t\u0001"],
    ["a line end alone as its id", "Dog-\n"],
    ["a pair of surrogates", `Dog-${dog}`],
    ["512 bytes of one each", `Dog-${"a".repeat(508)}`],
    ["512 bytes of one, three and two each", `Dog-${euro.repeat(168)}éé`],
    ["512 bytes of one and four each", `Dog-${dog.repeat(127)}`]
  ])("accepts %s", (_what, name) => {
    assert.strictEqual(StreamName.StreamName.make(name), name)
  })

  it.each([
    ["nothing", "", "empty"],
    ["no dash", "Dog", "<Aggregate>-<id>"],
    ["no id", "Dog-", "<Aggregate>-<id>"],
    ["no aggregate", "-rex", "<Aggregate>-<id>"],
    ["a NUL", "Dog-a\0b", "NUL"],
    ["a high surrogate alone", `Dog-${highSurrogate}`, "surrogate"],
    ["a low surrogate alone", `Dog-${lowSurrogate}x`, "surrogate"],
    ["surrogates in the wrong order", `Dog-${lowSurrogate}${highSurrogate}`, "surrogate"],
    ["513 bytes of one each", `D-${"a".repeat(511)}`, "512 bytes (513)"],
    ["513 bytes in 173 units", `D-ab${euro.repeat(169)}é`, "512 bytes (513)"],
    ["516 bytes in 260 units", `D-ab${dog.repeat(128)}`, "512 bytes (516)"]
  ])("refuses %s, with the reason", (_what, name, because) => {
    assert.throws(() => StreamName.StreamName.make(name))
    const exit = Schema.decodeUnknownExit(StreamName.StreamName)(name)
    assert.isTrue(Exit.isFailure(exit))
    assert.include(String(exit), because)
  })

  // independent of the implementation: text that UTF-8 can't carry, or carries as another text, must be refused
  it.prop(
    "accepts exactly what UTF-8 carries unchanged in up to 512 bytes without NUL",
    [anyUnits],
    ([id]) => {
      const name = `D-x${id}`
      const bytes = Buffer.from(name, "utf8")
      const carried = bytes.toString("utf8") === name && bytes.length <= 512 && !bytes.includes(0)
      assert.strictEqual(Schema.is(StreamName.StreamName)(name), carried)
    },
    { arbitrary: { runs: 500, size: 400 } }
  )

  it.prop("returns the parts that it was made of", [Schema.NonEmptyString], ([id]) => {
    const stream = StreamName.of("Dog", id)
    assert.strictEqual(StreamName.category(stream), "Dog")
    assert.strictEqual(StreamName.id(stream), id)
  })

  it("ends the category at the first dash", () => {
    assert.strictEqual(StreamName.category(StreamName.of("Dog", "a-b-c")), "Dog")
    assert.strictEqual(StreamName.id(StreamName.of("Dog", "a-b-c")), "a-b-c")
  })
})
