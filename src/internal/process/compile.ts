/** Compiles the definition of a process: its handlers by event, and the checks of what they return. */
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { handlersByEvent } from "../following/handlers.ts"
import type { AnyRecorded, Compiled, Definition } from "./compiled.ts"
import type { Node } from "./reaction.ts"
import { MAX_VERSION } from "./trackingOf.ts"

type Handler = (cause: AnyRecorded) => unknown

/** Checks a definition, and throws if it is invalid. `nodesOf` turns what a handler returns into reactions. */
export const compile = <E, R>(
  name: string,
  {
    begin,
    follows,
    handlers: given,
    version = 1
  }: {
    readonly begin: "start" | "end"
    readonly follows: ReadonlyArray<Aggregate.Any>
    readonly handlers: object
    readonly version?: number
  },
  nodesOf: (reactions: unknown, whose: string) => ReadonlyArray<Node<E>>
): Definition<E, R> => {
  const subject = `process "${name}"`
  if (!/^[a-z][a-z0-9_]{0,39}$/.test(name)) {
    throw new Error(`${subject}: a name is 1 to 40 lower-case letters, digits and "_", a letter first`)
  }
  if (!(Number.isInteger(version) && version > 0 && version <= MAX_VERSION)) {
    throw new Error(`${subject}: version is a whole number from 1 on, not ${version}`)
  }
  if (begin !== "start" && begin !== "end") {
    throw new Error(`${subject}: begin is "start" or "end", not ${String(begin)}`)
  }
  const names = new Set(follows.map((aggregate) => aggregate.name))
  if (names.size < follows.length) throw new Error(`${subject} follows an aggregate twice`)
  const handlers = handlersByEvent<Handler>({ subject, ignore: "Process.ignore" }, follows, given)
  const compiled: Compiled<E, R> = {
    handles: handlers.handles,
    react: (cause) =>
      Effect.suspend((): Effect.Effect<ReadonlyArray<Node<E>>, E, R> => {
        const whose = `the handler of ${cause.aggregate}.${cause.event._tag} in ${subject}`
        const reactions = handlers.of(cause)(cause)
        return Effect.isEffect(reactions)
          ? Effect.map(reactions as Effect.Effect<unknown, E, R>, (one) => nodesOf(one, whose))
          : Effect.succeed(nodesOf(reactions, whose))
      })
  }
  return { name, version, begin, follows, compiled }
}
