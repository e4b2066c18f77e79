import { assert, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import type { RecorderError, WrongExpectedVersion } from "../../../EventSourcingError.ts"
import type { AppendedToStreams } from "../../../MultiStreamAppend.ts"
import type { Position } from "../../../Position.ts"
import { Recorder } from "../../../Recorder.ts"
import type { StreamName } from "../../../StreamName.ts"
import type { Backend } from "../Backend.ts"
import type { Seen, Sent } from "./history.ts"
import { assertSequential } from "./history.ts"
import type { Answer, Batch, Placed } from "./model.ts"
import { Model } from "./model.ts"
import type { Draft, Read } from "./programs.ts"
import { bind, draftOf, programStreams, programsOf, programTypes, Reads, rangeOf } from "./programs.ts"
import { lastVersion, readOrderlyLog } from "./reading.ts"
import { onNewLog, TIMEOUT } from "./register.ts"
import { whileUnavailable } from "./unavailable.ts"

/** How a connection sends a batch. */
export type Send<S> = (
  services: Context.Context<S>
) => (batch: Batch) => Effect.Effect<AppendedToStreams, WrongExpectedVersion | RecorderError>

/** Random programs, against the model: one call after another, and concurrently. */
export const programTests = <S>(
  backend: Backend<S | Recorder>,
  options: { readonly maxParts: number; readonly send: Send<S | Recorder> }
): void => {
  const Program = programsOf(options.maxParts)
  const runs = backend.programs ?? 30
  const settings = { timeout: TIMEOUT * Math.max(1, runs / 30), arbitrary: { runs } }

  it.live.prop(
    "G2 G7 random programs, one call after another, have the results of the model",
    { program: Program, reads: Reads },
    ({ program: { batches, senders }, reads }) =>
      onNewLog(backend, () =>
        Effect.gen(function* () {
          const services = yield* Effect.context<S | Recorder>()
          const recorder = Context.get(services, Recorder)
          const send = options.send(services)
          const model = new Model()
          const bound = new Map<Draft, Batch>()
          const positions: Array<readonly [lastId: string, position: bigint]> = []
          for (const number of senders.flat()) {
            const draft = draftOf(batches, number)
            if (draft === undefined) continue
            const batch = bound.get(draft) ?? bind(draft, (name) => model.lastVersion(name))
            bound.set(draft, batch)
            const expected = model.send(batch)
            const answer = yield* Effect.catchTag(send(batch), "WrongExpectedVersion", Effect.succeed)
            assertAnswer(answer, expected)
            if (expected._tag === "Recorded" && "versions" in answer) positions.push([expected.lastId, answer.position])
          }
          const log = yield* readOrderlyLog(recorder)
          assert.deepStrictEqual(log.map(placed), model.log.map(placedByModel))
          for (const [id, position] of positions) {
            assert.strictEqual(log.find((one) => one.id === id)?.position, position)
          }
          const inLog = log.map(({ position }) => position)
          for (const read of reads) yield* assertRead(recorder, model, inLog, read)
        })
      ),
    settings
  )

  it.live.prop(
    "G1 G2 G3 G7 random concurrent programs have the results of some sequential order",
    { program: Program },
    ({ program: { batches, senders } }) =>
      onNewLog(backend, ({ connect }) =>
        Effect.gen(function* () {
          const connections = [yield* Effect.context<S | Recorder>(), yield* connect]
          const bound = new Map<Draft, Batch>()
          const sent: Array<Sent> = []
          const seen: Array<Seen> = []
          let clock = 0
          const sender = (numbers: ReadonlyArray<number>, index: number) =>
            Effect.gen(function* () {
              const services = connections[index % 2]!
              const recorder = Context.get(services, Recorder)
              const send = (batch: Batch) => whileUnavailable(options.send(services)(batch))
              for (const number of numbers) {
                const draft = draftOf(batches, number)
                if (draft === undefined) {
                  const called = clock++
                  const log = yield* recorder.readAll({ limit: 1000 })
                  seen.push({ log, called, returned: clock++ })
                  continue
                }
                const versions = new Map<StreamName, "NoStream" | number>()
                for (const name of programStreams) versions.set(name, yield* lastVersion(recorder, name))
                const batch = bound.get(draft) ?? bind(draft, (name) => versions.get(name) ?? "NoStream")
                bound.set(draft, batch)
                const called = clock++
                const outcome = yield* Effect.catchTag(send(batch), "WrongExpectedVersion", Effect.succeed)
                sent.push({ batch, called, returned: clock++, outcome })
              }
            })
          yield* Effect.all(senders.map(sender), { concurrency: "unbounded" })
          assertSequential(yield* readOrderlyLog(Context.get(connections[0]!, Recorder)), sent, seen)
        })
      ),
    settings
  )
}

const assertAnswer = (answer: AppendedToStreams | WrongExpectedVersion, expected: Answer): void => {
  if (expected._tag === "Recorded") {
    assert.isTrue("versions" in answer, `an append that should be recorded was refused: ${answer}`)
    if ("versions" in answer) assert.deepStrictEqual([...answer.versions], [...expected.versions])
  } else {
    assert.isFalse("versions" in answer, "an append that should be refused was recorded")
    if ("versions" in answer) return
    const told = expected.wrong.some(
      ({ stream, expected, actual }) =>
        stream === answer.stream && expected === answer.expected && actual === answer.actual
    )
    assert.isTrue(told, `${answer} is not one of the possible failures: ${JSON.stringify(expected.wrong)}`)
  }
}

const placed = ({ stream, version, id }: { stream: string; version: number; id: string }) =>
  `${version} of ${stream}: ${id}`
const placedByModel = ({ stream, version, event }: Placed) => placed({ stream, version, id: event.id })

const assertRead = (recorder: Recorder["Service"], model: Model, positions: ReadonlyArray<Position>, read: Read) =>
  Effect.gen(function* () {
    const name = programStreams[read.stream]
    if (name !== undefined) {
      const page = yield* recorder.readStream({ stream: name, ...rangeOf(read) })
      assert.deepStrictEqual(page.map(placed), model.readStream(name, rangeOf(read)).map(placedByModel))
      return
    }
    // positions can't be made up, so a bound after the end of the log is left out
    const bound = (index: number | undefined) => (index === undefined || index >= positions.length ? undefined : index)
    const [after, upTo] = [bound(read.after), bound(read.upTo)]
    const filter = { types: read.types?.map((type) => programTypes[type]!), categories: read.categories }
    const page = yield* recorder.readAll({
      direction: read.direction,
      after: after === undefined ? undefined : positions[after],
      upTo: upTo === undefined ? undefined : positions[upTo],
      filter,
      limit: read.limit
    })
    const expected = model.readAll({ ...rangeOf(read), after, upTo }, filter)
    assert.deepStrictEqual(page.map(placed), expected.map(placedByModel))
  })
