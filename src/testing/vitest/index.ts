/**
 * Property tests of an aggregate, from its own schemas: one call registers them with vitest.
 *
 * Needs `vitest` and `@effect/vitest`, which are optional peer dependencies.
 */
export type { Generated, Options, Source } from "./properties.ts"
export { generated } from "./properties.ts"
export { testAggregate } from "./testAggregate.ts"
