/** The contract of {@link Recorder}. */
import { describe } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Recorder } from "../../Recorder.ts"
import type { Backend } from "./Backend.ts"
import { programTests } from "./internal/programTests.ts"
import { appendingTests } from "./recorder/appending.ts"
import { fidelityTests } from "./recorder/fidelity.ts"
import { followingTests } from "./recorder/following.ts"
import { interruptingTests } from "./recorder/interrupting.ts"
import { pageSizeTests } from "./recorder/pageSizes.ts"
import { readingTests } from "./recorder/reading.ts"
import { reopeningTests } from "./recorder/reopening.ts"
import { repeatingTests } from "./recorder/repeating.ts"
import { totalOrderTests } from "./recorder/totalOrder.ts"

/**
 * Registers the tests that every recorder has to pass: G1 to G5, G7, G8 and G10.
 *
 * G5 is tested as far as closing and opening the log goes; killed processes are the backend's own tests.
 */
export const recorderContract = (backend: Backend<Recorder>): void => {
  describe(`Recorder contract on ${backend.name}`, () => {
    describe("appending", () => appendingTests(backend))
    describe("repeated appends", () => repeatingTests(backend))
    describe("fidelity", () => fidelityTests(backend))
    describe("reading", () => readingTests(backend))
    describe("page sizes", () => pageSizeTests(backend))
    describe("total order", () => totalOrderTests(backend))
    describe("following", () => followingTests(backend))
    describe("interrupting", () => interruptingTests(backend))
    if (backend.durable) describe("reopening", () => reopeningTests(backend))
    describe("random programs", () =>
      programTests(backend, {
        maxParts: 1,
        send: (services) => {
          const recorder = Context.get(services, Recorder)
          return ({ appends: [append] }) =>
            append === undefined
              ? Effect.die(new Error("a batch without an append"))
              : Effect.map(recorder.append(append), ({ version, position }) => ({ versions: [version], position }))
        }
      }))
  })
}
