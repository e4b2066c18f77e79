/** Checks the events of tests at compile time: the type of a wrong event is a text that names the mistake. */
import type * as Aggregate from "../Aggregate.ts"

/** An event of the aggregate. If only its fields are wrong, the type of the intended event; otherwise a text. */
export type EventIn<A extends Aggregate.Any, E extends Aggregate.AnyEvent> =
  E extends Aggregate.Event<A>
    ? E
    : E["_tag"] extends Aggregate.Event<A>["_tag"]
      ? Extract<Aggregate.Event<A>, { readonly _tag: E["_tag"] }>
      : `${Aggregate.NameOf<A>} has no event "${E["_tag"]}"`

/** The first event of a history, which must create the aggregate, or what is wrong with it. */
export type FirstEventIn<A extends Aggregate.Any, E extends Aggregate.AnyEvent> =
  E extends Aggregate.CreationOf<A>
    ? E
    : E extends Aggregate.ChangeOf<A>
      ? `"${E["_tag"]}" changes a ${Aggregate.NameOf<A>} that exists: the first event has to create it`
      : EventIn<A, E>

/** An event that can't be the first one, or what is wrong with it. */
export type LaterEventIn<A extends Aggregate.Any, E extends Aggregate.AnyEvent> =
  E extends Aggregate.ChangeOf<A>
    ? E
    : E extends Aggregate.CreationOf<A>
      ? `"${E["_tag"]}" creates the ${Aggregate.NameOf<A>}: only the first event can`
      : EventIn<A, E>

/** Events of the aggregate, or for each wrong event what is wrong with it. */
export type EventsIn<A extends Aggregate.Any, Es extends ReadonlyArray<Aggregate.AnyEvent>> = {
  readonly [I in keyof Es]: EventIn<A, Es[I]>
}

/**
 * The history of an aggregate instance: the first event creates it, the others change it. If the compiler does not know
 * the length of an array, the order is checked at run time.
 */
export type History<A extends Aggregate.Any, Es extends ReadonlyArray<Aggregate.AnyEvent>> = number extends Es["length"]
  ? EventsIn<A, Es>
  : { readonly [I in keyof Es]: I extends "0" ? FirstEventIn<A, Es[I]> : LaterEventIn<A, Es[I]> }

/** The tags of failures that have one. */
export type TagOf<E> = E extends { readonly _tag: infer Tag extends string } ? Tag : never

/** Any of the fields of a failure with this tag. */
export type FieldsOf<E, Tag> =
  Extract<E, { readonly _tag: Tag }> extends infer F
    ? { readonly [K in Exclude<keyof F, keyof Error | "_tag" | symbol>]?: F[K] }
    : never
