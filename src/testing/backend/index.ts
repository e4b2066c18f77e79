/**
 * The contract of a backend, as tests: what an author of one registers with vitest to prove it, and what the backends of
 * this package are proven with.
 *
 * Needs `vitest` and `@effect/vitest`, which are optional peer dependencies. See {@link Backend} for an example.
 */
export type { Backend } from "./Backend.ts"
export { storedEvent, storedEvents } from "./events.ts"
export { multiStreamAppendContract } from "./multiStreamAppendContract.ts"
export { processContract } from "./processContract.ts"
export { recorderContract } from "./recorderContract.ts"
export { snapshotRecorderContract } from "./snapshotRecorderContract.ts"
export { streamCatalogContract } from "./streamCatalogContract.ts"
export { trackedAppendContract } from "./trackedAppendContract.ts"
export { transactionalAppendContract } from "./transactionalAppendContract.ts"
