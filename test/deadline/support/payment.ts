/** Payments that expire, remind and fail, for tests of deadlines. */
import { Effect, Schema } from "effect"
import { Aggregate, Deadline } from "effect-eventsourcing"

const creation = { Requested: { dueAt: Schema.Finite } }

export const Payment = Aggregate.make("Payment", {
  state: {
    status: Schema.Literals(["awaiting", "paid", "expired"]),
    dueAt: Schema.Finite,
    notes: Schema.Array(Schema.String)
  },
  creation,
  events: { Paid: {}, Expired: {}, Postponed: { dueAt: Schema.Finite }, Noted: { text: Schema.String } },
  reduce: {
    Requested: ({ dueAt }) => ({ status: "awaiting" as const, dueAt, notes: [] }),
    Paid: (payment) => ({ ...payment, status: "paid" as const }),
    Expired: (payment) => ({ ...payment, status: "expired" as const }),
    Postponed: (payment, { dueAt }) => ({ ...payment, dueAt }),
    Noted: (payment, { text }) => ({ ...payment, notes: [...payment.notes, text] })
  }
})

/**
 * Payments as a newer program writes them: with an event that other programs don't know, and one that they can't
 * decode.
 */
export const NewerPayment = Aggregate.make("Payment", {
  state: Schema.Int,
  creation,
  events: { Refunded: {}, Noted: { text: Schema.Int } },
  reduce: { Requested: () => 0, Refunded: (state) => state, Noted: (state) => state }
})

type State = Aggregate.StateOf<typeof Payment>

export const dueOf = ({ dueAt, status }: State): number | undefined => (status === "awaiting" ? dueAt : undefined)

export class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}

/** Expires payments that are due; fails for those with a note that asks for it. */
export const makeExpiry = <const I extends Deadline.Place>(
  index: I,
  options: { readonly name?: string; readonly version?: number; readonly due?: (state: State) => Deadline.Due } = {}
) =>
  Deadline.make(options.name ?? "expiry", {
    aggregate: Payment,
    index,
    version: options.version ?? 1,
    due: (state) => {
      if (state.notes.includes("due throws")) throw new Error("due throws")
      return (options.due ?? dueOf)(state)
    },
    decide: ({ notes }): Effect.Effect<Aggregate.ChangeOf<typeof Payment>, Refused> => {
      if (notes.includes("refused")) return Effect.fail(new Refused())
      return Effect.succeed(notes.includes("unchanged") ? Payment.Noted({ text: "again" }) : Payment.Expired())
    }
  })
