/** What a backend has to provide so that the contract can be tested. */
import type { Effect, Layer, Scope } from "effect"

/**
 * A backend under test: how to make a log of it, and what it promises beyond the rest.
 *
 * `S` are the services that its layer provides. Each part of the contract asks for the ones that it tests, so a backend
 * without a capability leaves that part out.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { layerRecorders, type Services } from "effect-eventsourcing/memory"
 * import {
 *   type Backend,
 *   multiStreamAppendContract,
 *   recorderContract,
 *   snapshotRecorderContract,
 *   streamCatalogContract,
 *   trackedAppendContract
 * } from "effect-eventsourcing/testing/backend"
 *
 * const memory: Backend<Services> = {
 *   name: "memory",
 *   durable: false,
 *   // each build of this layer is a log of its own, so it is built once, and its builds are what came of that
 *   makeLog: Effect.map(Layer.build(layerRecorders), (services) => Layer.succeedContext(services))
 * }
 *
 * // in a test file, run by vitest: the recorder's contract, and that of each capability
 * recorderContract(memory)
 * multiStreamAppendContract(memory)
 * trackedAppendContract(memory)
 * streamCatalogContract(memory)
 * snapshotRecorderContract(memory)
 * ```
 */
export interface Backend<S> {
  /** Part of the names of the tests. */
  readonly name: string
  /**
   * Makes a new, empty log, of which nothing is left when the scope closes.
   *
   * It returns a layer that opens the log. The layer is built several times, at the same time and one after another;
   * each build is another connection to the same log. If the backend supports several processes, each build should be
   * what a process would have.
   */
  readonly makeLog: Effect.Effect<Layer.Layer<S, unknown>, never, Scope.Scope>
  /**
   * Whether an append returns the position of each event. Default: only if it is a single event, since its position is
   * that of the last one. Positions that are returned must be right in any case.
   */
  readonly knowsPositions?: boolean
  /** Whether appended events still exist after all connections were closed (G5). */
  readonly durable: boolean
  /** How many random programs each property runs, each on a new log. Default 30. */
  readonly programs?: number
}
