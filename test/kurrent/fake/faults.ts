/**
 * The faults that a test can inject. Every method takes plain values, so that a child process can be controlled too.
 */
import * as Errors from "./errors.ts"

/** The kinds of calls that faults distinguish. */
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

  /** The next appends are written, and their connection is reset instead of a response. */
  dropAfterWrite(count = 1): void {
    this.#dropsAfter = count
  }

  /** The connection of the next appends is reset, and nothing is written. */
  dropBeforeWrite(count = 1): void {
    this.#dropsBefore = count
  }

  /** Calls of this kind are accepted and never answered. Those that already hang continue to hang after `answer`. */
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

  /** Calls of this kind end with a status; this many of them. */
  refuse(kind: Kind, refusal: Errors.Refusal, count = Number.MAX_SAFE_INTEGER): void {
    this.#refusals.set(kind, { refusal, remaining: count })
  }

  /** Calls of this kind get the response that another node is the leader. */
  notLeader(kind: Kind, host: string, port: number, count = Number.MAX_SAFE_INTEGER): void {
    this.refuse(kind, Errors.notLeader(host, port), count)
  }

  /**
   * Calls of these kinds get the response that the server is starting, is too busy, or elects a leader; this many of
   * each.
   */
  notHandled(why: Errors.NotHandled, count = Number.MAX_SAFE_INTEGER, ...which: ReadonlyArray<Kind>): void {
    for (const kind of which.length === 0 ? kinds : which) this.refuse(kind, Errors.notHandled[why], count)
  }

  /**
   * Gossip reports another node as the leader, and the fake as a follower; without a host the fake is the leader again.
   */
  elect(host?: string, port = 2113): void {
    this.#leader = host === undefined ? undefined : { host, port }
  }

  /** Backward reads of $all from its end see the newest multi-event append without its last event. */
  partialHead(count = 1): void {
    this.#partialHeads = count
  }

  /** Written events can be read, and appends answered, only this much later; refusals are sent at once. 0 ends it. */
  showLater(milliseconds: number): void {
    this.#lag = milliseconds
  }

  /**
   * Of identical appends under way at the same time one is answered; the others are given up after this many
   * milliseconds.
   */
  answerOnce(milliseconds: number): void {
    this.#answersOnce = milliseconds
  }

  /**
   * Filters look through this many events in a millisecond, as in a large log; without a number, as fast as they can.
   */
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

  /** The connections of the next subscriptions are reset after this many events. */
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

  /** Ends all lasting faults. */
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

  /** The node that gossip reports as the leader, if not this one. */
  get leader(): Endpoint | undefined {
    return this.#leader
  }

  /** How many events filters have looked at. */
  get looked(): number {
    return this.#looked
  }

  /** Called for each event that a filter looks at; now and then it returns something to wait for. */
  look(): Promise<void> | undefined {
    this.#looked += 1
    const portion = Math.max(1, Math.floor(this.#eventsPerMs * 10))
    if (this.#looked % portion !== 0 || this.#eventsPerMs === Number.POSITIVE_INFINITY) return undefined
    return new Promise((resolve) => setTimeout(resolve, portion / this.#eventsPerMs).unref())
  }

  /** After how many milliseconds unanswered appends are given up; 0 if all are answered. */
  get answersOnce(): number {
    return this.#answersOnce
  }

  /** For how many milliseconds written events can't be read yet. */
  get lag(): number {
    return this.#lag
  }

  /** How many calls were accepted and are never answered. */
  get held(): number {
    return this.#held
  }

  /** Lets a call continue, now or later, ends it, or leaves it unanswered. */
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
