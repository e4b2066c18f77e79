/** A domain model as a front end shares it with its server. */
import { Effect, Exit, Schema } from "effect"
import { Aggregate, Decision, DomainEvent, EventSourcingError, Evolution, StreamName } from "effect-eventsourcing"

export class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()("AlreadyPaid", {}) {}

export const Invoice = Aggregate.make("Invoice", {
  state: Evolution.version(1, { customer: Schema.String, cents: Schema.BigInt, paid: Schema.Boolean }),
  creation: {
    Drafted: DomainEvent.make({
      aliases: ["Invoice.Created"],
      schema: Evolution.version(1, { name: Schema.String }).version(
        2,
        { customer: Schema.NonEmptyString },
        ({ name }) => ({ customer: name })
      )
    })
  },
  events: { LineAdded: { text: Schema.String, cents: Schema.BigInt }, Paid: {} },
  reduce: {
    Drafted: ({ customer }) => ({ customer, cents: 0n, paid: false }),
    LineAdded: (invoice, { cents }) => ({ ...invoice, cents: invoice.cents + cents }),
    Paid: (invoice) => ({ ...invoice, paid: true })
  }
})

export const pay = Invoice.decide((invoice) => (invoice.paid ? Effect.fail(new AlreadyPaid()) : Invoice.Paid()))

const thrown = (run: () => unknown): string => {
  try {
    run()
    return "nothing"
  } catch (error) {
    return String(error)
  }
}

/** The results of the model, as JSON values. */
export const results = () => {
  const events = [Invoice.Drafted({ customer: "Zoë" }), Invoice.LineAdded({ text: "Work 🐕", cents: 4200n })]
  const invoice = Invoice.fold(events)
  const decided = Effect.runSync(Decision.take(pay, invoice))
  const paid = Invoice.fold([Invoice.Paid()], invoice as NonNullable<typeof invoice>)
  const refused = Effect.runSyncExit(Decision.take(pay, paid))
  return {
    events: events.map((event) => ({ ...event, ...("cents" in event ? { cents: String(event.cents) } : {}) })),
    cents: String(paid.cents),
    paid: paid.paid,
    decided,
    refused: Exit.isFailure(refused)
      ? refused.cause.reasons.map((reason) => reason._tag === "Fail" && reason.error)
      : [],
    ids: ["2026-117", "Zoë 🐕", "x".repeat(2000)].map(Invoice.id),
    stream: Invoice.stream(Invoice.Id.make("é".repeat(252))),
    category: StreamName.category(Invoice.stream(Invoice.id("2026-117"))),
    wrong: [
      thrown(() => Invoice.Id.make("é".repeat(253))),
      thrown(() => Invoice.Id.make("\ud800")),
      thrown(() => Invoice.fold([Invoice.Paid()])),
      new EventSourcingError.AggregateNotFound({ aggregate: "Invoice", id: "2026-117", version: undefined }).message
    ]
  }
}

/** New ids, all different. */
export const randomIds = () => Array.from({ length: 2000 }, () => Effect.runSync(Invoice.randomId))
