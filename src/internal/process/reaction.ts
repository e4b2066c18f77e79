/** What is to be done because of an event, as it is planned and recorded. */
import type * as Aggregate from "../../Aggregate.ts"
import type { Command } from "../repository/command.ts"

/** A command for one aggregate. */
export interface Execute<out E> {
  readonly _tag: "Execute"
  readonly command: Command<Aggregate.Any, E>
}

/** A reaction, and what replaces it if it is refused. */
export interface WhenRefused<out E> {
  readonly _tag: "WhenRefused"
  /** It may also be refused with an error that `then` handles. */
  readonly reaction: Node<unknown>
  /** The tag of the refusals that are handled; `undefined` for all of them. */
  readonly tag: string | undefined
  readonly then: (refusal: unknown) => ReadonlyArray<Node<E>>
}

/** A reaction. */
export type Node<E> = Execute<E> | WhenRefused<E>

/** The first command of a reaction. */
export const firstCommand = (node: Node<unknown>): Command<Aggregate.Any, unknown> => {
  let first = node
  while (first._tag === "WhenRefused") first = first.reaction
  return first.command
}
