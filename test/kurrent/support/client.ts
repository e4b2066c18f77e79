/**
 * What tests of the client need: a client of the shared server, or of a fake of their own, and streams of their own.
 */

import { randomUUID } from "node:crypto"
import { it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import type { ConnectionOptions, EventToAppend } from "effect-eventsourcing/kurrent"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { eventually } from "../../support/eventually.ts"
import type { Fake, FakeOptions } from "../fake/server.ts"
import { startFake } from "../fake/server.ts"
import { isFake, isSince, uri } from "./server.ts"

/** A test with a client of the shared server; a feature that begins with a version is skipped on older ones. */
export const onServer = <A, E>(
  name: string,
  test: Effect.Effect<A, E, KurrentClient | Scope.Scope>,
  since = "22.6.0"
): void =>
  it.live.skipIf(!isSince(since))(name, () =>
    Effect.provide(test, Layer.fresh(KurrentClient.layer({ connectionString: uri })))
  )

/** A test with a client of a fake of its own, for what a real server can't show. */
export const onOwnFake = <A, E>(
  name: string,
  test: (fake: Fake) => Effect.Effect<A, E, KurrentClient | Scope.Scope>,
  { server, ...options }: Partial<ConnectionOptions> & { readonly server?: FakeOptions } = {}
): void =>
  (isFake ? it.live : it.live.skip)(name, () =>
    Effect.gen(function* () {
      const fake = yield* ownFake(server)
      const layer = KurrentClient.layer({ connectionString: fake.uri, ...options })
      return yield* Effect.provide(test(fake), layer)
    })
  )

/** A fake that is stopped with the scope. */
export const ownFake = (options: FakeOptions = {}): Effect.Effect<Fake, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startFake(options)),
    (fake) => Effect.promise(() => fake.stop())
  )

export const newStream = (category = "Client"): string => `${category}-${randomUUID()}`

export const happened = (n: number, id?: string): EventToAppend => ({ id, type: "Happened", data: { n } })

export const happenedMany = (count: number, from = 0): ReadonlyArray<EventToAppend> =>
  Array.from({ length: count }, (_, index) => happened(from + index))

/** Polls until a condition holds. */
export const until = (holds: () => boolean, what: string): Effect.Effect<void> => eventually(what, Effect.sync(holds))
