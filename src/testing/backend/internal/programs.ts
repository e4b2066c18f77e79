import { Schema } from "effect"
import type { Check } from "../../../MultiStreamAppend.ts"
import type { Append, ExpectedVersion } from "../../../Recorder.ts"
import type { StreamName } from "../../../StreamName.ts"
import { storedEvents } from "../events.ts"
import type { Batch, Range } from "./model.ts"
import { stream } from "./reading.ts"

/** The streams of generated programs: few, so that appends conflict. */
export const programStreams: ReadonlyArray<StreamName> = ["Dog-1", "Dogs-1", "Dog-2"].map(stream)
/** The types of their events. */
export const programTypes: ReadonlyArray<string> = ["Dog.Named", "Dog.Fed"]

const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const listOf = <S extends Schema.Constraint>(item: S, minimum: number, maximum: number) =>
  Schema.Array(item).check(Schema.isMinLength(minimum), Schema.isMaxLength(maximum))

const Part = Schema.Struct({
  stream: upTo(programStreams.length - 1),
  /** How the expected version is chosen; see {@link expectedBy}. */
  expected: upTo(11),
  /** How many events; 0 is a check, if there are checks. */
  size: upTo(3)
})

const batchOf = (parts: number) => listOf(Part, 1, parts)

/** A batch whose streams' versions are not known until it is first sent. */
export type Draft = Schema.Schema.Type<ReturnType<typeof batchOf>>

/**
 * Programs: batches, and which sender sends which of them in what order. Each sender processes its list; a batch that
 * is listed more than once is sent again, with the same events at the same version. Some numbers are not a batch but a
 * read.
 */
export const programsOf = (maxParts: number) =>
  Schema.Struct({
    batches: listOf(batchOf(maxParts), 4, 12),
    senders: listOf(listOf(upTo(99), 4, 12), 2, 5)
  })

/** The batch of a sender's number; `undefined` is a read. */
export const draftOf = (batches: ReadonlyArray<Draft>, number: number): Draft | undefined =>
  batches[number % (batches.length + 1)]

/** Pages of streams and of the log; the bounds are versions, or indexes into the log. */
export const Reads = listOf(
  Schema.Struct({
    /** The stream; numbers after the last stream stand for the log. */
    stream: upTo(programStreams.length + 2),
    direction: Schema.Literals(["forward", "backward"]),
    after: Schema.UndefinedOr(upTo(20)),
    upTo: Schema.UndefinedOr(upTo(20)),
    limit: upTo(12),
    types: Schema.UndefinedOr(listOf(upTo(programTypes.length - 1), 0, 2)),
    categories: Schema.UndefinedOr(listOf(Schema.Literals(["Dog", "Dogs", "Cat"]), 0, 2))
  }),
  1,
  12
)

/** One generated read. */
export type Read = (typeof Reads.Type)[number]

/** The bounds of a generated read. */
export const rangeOf = ({ direction, after, upTo, limit }: Read): Range => ({ direction, after, upTo, limit })

/** Usually the version of the stream; sometimes an earlier one, a later one, or no stream. */
const expectedBy = (choice: number, actual: ExpectedVersion): ExpectedVersion => {
  if (choice === 0) return "NoStream"
  if (choice === 1) return actual === "NoStream" ? 0 : actual + 1
  if (choice === 2) return actual === "NoStream" || actual === 0 ? "NoStream" : actual - 1
  return actual
}

/** Determines a batch's versions and events, which are the same each time it is sent. */
export const bind = (draft: Draft, actual: (stream: StreamName) => ExpectedVersion): Batch => {
  const parts = new Map(draft.map((part) => [programStreams[part.stream]!, part]))
  const appends: Array<Append> = []
  const checks: Array<Check> = []
  for (const [name, { expected: choice, size }] of parts) {
    const expected = expectedBy(choice, actual(name))
    if (size === 0 && parts.size > 1) checks.push({ stream: name, expected })
    else appends.push({ stream: name, expected, events: storedEvents(size || 1, { type: programTypes[choice % 2]! }) })
  }
  const [first, ...others] = checks
  // at least one of the streams has to be appended to
  return appends.length > 0 || first === undefined
    ? { appends, checks }
    : { appends: [{ ...first, events: storedEvents(1) }], checks: others }
}
