/** Checks of a definition at compile time: the type of something invalid names the problem. */
import type * as Aggregate from "../../Aggregate.ts"
import type * as DomainEvent from "../../DomainEvent.ts"

/**
 * The requirements on a name besides being a string. It is an index lookup because a conditional type would stay
 * unresolved for a name that is itself a type parameter: a generic function that makes aggregates would not compile.
 */
export interface NameCheck {
  readonly [name: string]: unknown
  readonly [name: `${string}-${string}`]: {
    readonly "an aggregate's name must not contain '-', which separates the name from the id in stream names": never
  }
}

/** The properties that every aggregate, object or promise has: a constructor can't have one of these names. */
type Reserved =
  | keyof Aggregate.Aggregate<string, unknown, Aggregate.AnyEvent, Aggregate.AnyEvent>
  | keyof Object
  | "then"

/** The type that an event declares for its own `_tag`; `never` if it declares none. */
type DeclaredTag<P> = P extends unknown
  ? { readonly [K in keyof P as string extends K ? never : K extends "_tag" ? K : never]: P[K] } extends infer T
    ? T[keyof T]
    : never
  : never

/** Intersected with each declaration: for an invalid one, the resulting type names the problem. */
export type DeclarationChecks<D extends Aggregate.Declarations> = {
  readonly [K in keyof D]: K extends Reserved
    ? {
        readonly [Message in `an event can't be named '${K}', because an aggregate or a promise has a property of that name`]: never
      }
    : [DeclaredTag<DomainEvent.PayloadOf<D[K]>>] extends [K]
      ? unknown
      : { readonly "an event can't have a field '_tag', which holds its name": never }
}
