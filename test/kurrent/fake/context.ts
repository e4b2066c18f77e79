/** What the services of a fake share. */

import type * as Grpc from "@grpc/grpc-js"
import type { Access } from "./access.ts"
import type { Refusal } from "./errors.ts"
import type { Faults } from "./faults.ts"
import type { Log } from "./Log.ts"
import type { Settings } from "./settings.ts"
import type { Writer } from "./Writer.ts"

/** The part of a call that is needed to know the caller. */
export interface Caller {
  readonly metadata: Grpc.Metadata
  readonly getPeer: () => string
}

export interface Subscription {
  readonly end: (refusal: Refusal) => void
}

export interface Context extends Access {
  /** The log as it can be read. */
  readonly log: Log
  readonly writer: Writer
  readonly faults: Faults
  readonly settings: Settings
  /** The subscriptions that are open. */
  readonly subscriptions: Set<Subscription>
  /** Resets the connection that a call uses. */
  readonly dropConnection: (caller: Caller) => void
}
