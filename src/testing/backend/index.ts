/**
 * The contract of a backend, as tests: the author of a backend registers them with vitest. The backends of this package
 * are tested with them, too.
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
