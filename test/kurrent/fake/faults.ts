/** What a test can have the fake do wrong. Every method takes plain values, so that a child process can be told too. */
import * as Errors from "./errors.ts"

/** The kinds of calls that faults tell apart. */
export type Kind = "appends" | "deletes" | "reads" | "subscriptions" | "persistent" | "features"

const kinds: ReadonlyArray<Kind> = ["appends", "deletes", "reads", "subscriptions", "persistent", "features"]

export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** What the fake's network and its subscriptions can do for a fault. */
export interface Reach {
  readonly dropConnections: () => void
  readonly refuseConnections: () => void
  readonly acceptConnections: () => Promise<void>
  readonly endSubscriptions: (refusal: Errors.Refusal) => void
}

export class Faults {
  readonly #reach: Reach
  readonly #silent = new Set<Kind>()
  readonly #delays = new Map<Kind, number>()
  readonly #refusals = new Map<Kind, { readonly refusal: Errors.Refusal; remaining: number }>()
  #dropsBefore = 0
  #dropsAfter = 0
  #partialHeads = 0
  #lag = 0
  #answersOnce = 0
  #eventsPerMs = Number.POSITIVE_INFINITY
  #looked = 0
  #subscriptionDrops: { readonly after: number; remaining: number } | undefined
  #leader: Endpoint | undefined
  #held = 0

  constructor(reach: Reach) {
    this.#reach = reach
  }

  /** The next appends are written, and their connection is reset instead of an answer. */
  dropAfterWrite(count = 1): void {
    this.#dropsAfter = count
  }

  /** The connection of the next appends is reset, and nothing is written. */
  dropBeforeWrite(count = 1): void {
    this.#dropsBefore = count
  }

  /** Calls of this kind are accepted and never answered. Those that hang already go on hanging after `answer`. */
  silence(...which: ReadonlyArray<Kind>): void {
    for (const kind of which.length === 0 ? kinds : which) this.#silent.add(kind)
  }

  /** Ends `silence` and `refuse`. */
  answer(...which: ReadonlyArray<Kind>): void {
    for (const kind of which.length === 0 ? kinds : which) {
      this.#silent.delete(kind)
      this.#refusals.delete(kind)
    }
  }

  /** Calls of this kind wait before they are done; 0 ends it. */
  delay(kind: Kind, milliseconds: number): void {
    this.#delays.set(kind, milliseconds)
  }

  /** Calls of this kind end with a status; for so many of them. */
  refuse(kind: Kind, refusal: Errors.Refusal, count = Number.MAX_SAFE_INTEGER): void {
    this.#refusals.set(kind, { refusal, remaining: count })
  }

  /** Calls of this kind are told that another node is the leader. */
  notLeader(kind: Kind, host: string, port: number, count = Number.MAX_SAFE_INTEGER): void {
    this.refuse(kind, Errors.notLeader(host, port), count)
  }

  /** Calls of these kinds are told that the server starts, has too much to do, or elects a leader; so many of each. */
  notHandled(why: Errors.NotHandled, count = Number.MAX_SAFE_INTEGER, ...which: ReadonlyArray<Kind>): void {
    for (const kind of which.length === 0 ? kinds : which) this.refuse(kind, Errors.notHandled[why], count)
  }

  /** Gossip says that another node is the leader, and the fake a follower; without a host it is the leader again. */
  elect(host?: string, port = 2113): void {
    this.#leader = host === undefined ? undefined : { host, port }
  }

  /** Backward reads of $all from its end see the newest multi-event append without its last event. */
  partialHead(count = 1): void {
    this.#partialHeads = count
  }

  /** What is written can be read, and is answered, only so much later; what is refused is refused at once. 0 ends it. */
  showLater(milliseconds: number): void {
    this.#lag = milliseconds
  }

  /** Of identical appends that are under way together one is answered, the others are given up after so many milliseconds. */
  answerOnce(milliseconds: number): void {
    this.#answersOnce = milliseconds
  }

  /** Filters look through so many events in a millisecond, as in a log that is large; without a number as fast as they can. */
  lookSlowly(eventsPerMs = Number.POSITIVE_INFINITY): void {
    this.#eventsPerMs = eventsPerMs
  }

  /** Every subscription ends with an error. */
  endSubscriptions(why: "shutdown" | "slow" = "shutdown"): void {
    this.#reach.endSubscriptions(
      why === "shutdown"
        ? Errors.unavailable("Server shutting down")
        : // grpc.status.ABORTED
          { code: 10, details: "Consumer too slow" }
    )
  }

  /** The connections of the next subscriptions are reset when they have been sent so many events. */
  dropSubscriptions(after: number, count = 1): void {
    this.#subscriptionDrops = { after, remaining: count }
  }

  /** Every connection is reset. */
  dropConnections(): void {
    this.#reach.dropConnections()
  }

  /** Every connection is reset and new ones are refused. */
  refuseConnections(): void {
    this.#reach.refuseConnections()
    this.#reach.dropConnections()
  }

  acceptConnections(): Promise<void> {
    return this.#reach.acceptConnections()
  }

  /** Ends all faults that go on. */
  clear(): Promise<void> {
    this.#silent.clear()
    this.#delays.clear()
    this.#refusals.clear()
    this.#dropsBefore = 0
    this.#dropsAfter = 0
    this.#partialHeads = 0
    this.#lag = 0
    this.#answersOnce = 0
    this.#eventsPerMs = Number.POSITIVE_INFINITY
    this.#leader = undefined
    this.#subscriptionDrops = undefined
    return this.#reach.acceptConnections()
  }

  /** Which node gossip says is the leader, if not this one. */
  get leader(): Endpoint | undefined {
    return this.#leader
  }

  /** How many events filters have looked at. */
  get looked(): number {
    return this.#looked
  }

  /** Called for each event that a filter looks at; there is something to wait for now and then. */
  look(): Promise<void> | undefined {
    this.#looked += 1
    const portion = Math.max(1, Math.floor(this.#eventsPerMs * 10))
    if (this.#looked % portion !== 0 || this.#eventsPerMs === Number.POSITIVE_INFINITY) return undefined
    return new Promise((resolve) => setTimeout(resolve, portion / this.#eventsPerMs).unref())
  }

  /** After how many milliseconds those are given up that are not answered; 0 if all are. */
  get answersOnce(): number {
    return this.#answersOnce
  }

  /** For how many milliseconds what is written can't be read yet. */
  get lag(): number {
    return this.#lag
  }

  /** How many calls were accepted and are never answered. */
  get held(): number {
    return this.#held
  }

  /** Lets a call go on, now or later, or ends it, or leaves it without an answer. */
  enter(kind: Kind, proceed: () => void, end: (refusal: Errors.Refusal) => void): void {
    if (this.#silent.has(kind)) {
      this.#held += 1
      return
    }
    const refused = this.#refusals.get(kind)
    if (refused !== undefined && refused.remaining > 0) {
      refused.remaining -= 1
      end(refused.refusal)
      return
    }
    const delay = this.#delays.get(kind) ?? 0
    if (delay > 0) setTimeout(proceed, delay)
    else proceed()
  }

  takeDropBeforeWrite(): boolean {
    if (this.#dropsBefore === 0) return false
    this.#dropsBefore -= 1
    return true
  }

  takeDropAfterWrite(): boolean {
    if (this.#dropsAfter === 0) return false
    this.#dropsAfter -= 1
    return true
  }

  takePartialHead(): boolean {
    if (this.#partialHeads === 0) return false
    this.#partialHeads -= 1
    return true
  }

  /** After how many events the subscription that starts now is dropped. */
  takeSubscriptionDrop(): number | undefined {
    const drops = this.#subscriptionDrops
    if (drops === undefined || drops.remaining === 0) return undefined
    drops.remaining -= 1
    return drops.after
  }
}
