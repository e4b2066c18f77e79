/** The scenarios as a user of Emmett's event stores writes them. */
import type { Event, EventStore, InMemoryEventStore } from "@event-driven-io/emmett"
import { CommandHandler, getInMemoryEventStore } from "@event-driven-io/emmett"
import type { Item } from "../order.ts"
import { itemAt } from "../order.ts"

export type OrderEvent = Event<"Opened", { readonly customer: string }> | Event<"ItemAdded", Item>

interface OrderState {
  readonly items: number
  readonly total: number
}

const initialState = (): OrderState => ({ items: 0, total: 0 })

const evolve = ({ items, total }: OrderState, event: OrderEvent): OrderState =>
  event.type === "Opened"
    ? initialState()
    : { items: items + event.data.quantity, total: total + event.data.price * event.data.quantity }

const handle = CommandHandler<OrderState, OrderEvent>({ evolve, initialState })

const opened: OrderEvent = { type: "Opened", data: { customer: "Ada" } }
export const itemAdded = (version: number): OrderEvent => ({ type: "ItemAdded", data: itemAt(version) })

export type Store = InMemoryEventStore

/** Opens an order. */
export const begin = (store: EventStore, stream: string): Promise<unknown> => handle(store, stream, () => opened)

/** A store of its own, with so many orders. */
export const open = async (streams: ReadonlyArray<string>): Promise<Store> => {
  const store = getInMemoryEventStore()
  for (const stream of streams) await begin(store, stream)
  return store
}

/** Commands on an order, one after another; each decides on the state and records so many events. */
export const commands = async (store: EventStore, stream: string, count: number, events: number): Promise<void> => {
  for (let n = 0; n < count; n++) {
    const first = 1 + n * events
    await handle(store, stream, ({ items }) => {
      if (items < 0) return []
      return events === 1 ? itemAdded(first) : Array.from({ length: events }, (_, i) => itemAdded(first + i))
    })
  }
}

/** A store with one order of so many events. */
export const filled = async (stream: string, events: number): Promise<Store> => {
  const store = await open([stream])
  await store.appendToStream<OrderEvent>(
    stream,
    Array.from({ length: events - 1 }, (_, n) => itemAdded(n + 1))
  )
  return store
}

/** Rebuilds an order; answers how many events it had. */
export const rehydrate = async (store: Store, stream: string): Promise<number> => {
  const { currentStreamVersion } = await store.aggregateStream<OrderState, OrderEvent>(stream, { evolve, initialState })
  return Number(currentStreamVersion)
}

/** Reads and looks at the events of an order; answers how many there were. */
export const read = async (store: Store, stream: string): Promise<number> => {
  let count = 0
  for (const { type } of (await store.readStream<OrderEvent>(stream)).events) {
    if (type === "Opened" || type === "ItemAdded") count++
  }
  return count
}
