/**
 * Tests of a domain: given events, when a decision is taken, then events, nothing or a typed failure. Transactions and
 * projections are tested in the same way. The tests need no backend and work with any test runner: an expectation that
 * is not met throws.
 *
 * Property tests of an aggregate are in `effect-eventsourcing/testing/vitest`. The contract suite for authors of
 * backends is in `effect-eventsourcing/testing/backend`.
 */
export { ExpectationFailed } from "./ExpectationFailed.ts"
export type { Decided, Given, GivenRevision } from "./given.ts"
export { given } from "./given.ts"
export type { GivenAll, Ran, Services } from "./givenAll.ts"
export { givenAll } from "./givenAll.ts"
export type { Projected, ProjectedRows, ProjectedValue, Views } from "./projected.ts"
export { StreamEvents, stream } from "./stream.ts"
export type { EventIn, EventsIn, FieldsOf, FirstEventIn, History, LaterEventIn, TagOf } from "./types.ts"
