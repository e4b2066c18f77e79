import { Cause } from "effect"
import { messageOf } from "./messageOf.ts"

/** What a cause says, without its stack; `undefined` where there is nothing but an interruption. */
export const causeText = (cause: Cause.Cause<unknown>): string | undefined =>
  Cause.hasInterruptsOnly(cause) ? undefined : messageOf(Cause.squash(cause)).slice(0, 2000)
