/** A persistent subscription: the server stores what a group of consumers has processed, and hands out the rest. */

import * as Crypto from "node:crypto"
import type { Context } from "./context.ts"
import type { Filter } from "./filter.ts"
import { everything, filterOf } from "./filter.ts"
import type { LogEvent, Resolved } from "./Log.ts"
import * as Log from "./Log.ts"

/** How a group was created; stored in the log as JSON. */
export interface GroupSettings {
  /** The place of its first event; 0 is the start and -1 the end. For $all a position. */
  readonly startFrom: number
  readonly filter: FilterSettings | undefined
  readonly resolveLinks: boolean
  readonly extraStatistics: boolean
  readonly maxRetryCount: number
  readonly minCheckpointCount: number
  readonly maxCheckpointCount: number
  readonly maxSubscriberCount: number
  readonly liveBufferSize: number
  readonly readBatchSize: number
  readonly historyBufferSize: number
  readonly messageTimeout: number
  readonly checkpointAfter: number
  readonly strategy: string
}

export interface FilterSettings {
  readonly by: "stream" | "type"
  readonly regex: string
  readonly prefixes: ReadonlyArray<string>
}

export const allStream = "$all"

/** An event that a consumer is to receive. */
export interface Message {
  readonly resolved: Resolved
  readonly retries: number
  /** Where it is in the source, unless it was parked before. */
  readonly place: Place | undefined
}

interface Place {
  /** A revision, or a position in $all. */
  readonly at: number
  done: boolean
}

export interface Consumer {
  readonly name: string
  readonly bufferSize: number
  readonly inFlight: Map<string, { readonly message: Message; readonly timer: NodeJS.Timeout | undefined }>
  processed: number
  readonly deliver: (message: Message) => void
}

export const idOf = ({ resolved: { event, link } }: Message): string => (link ?? event)!.id

export class ConsumerGroup {
  readonly stream: string
  readonly name: string
  readonly settings: GroupSettings
  readonly consumers: Array<Consumer> = []
  readonly retries: Array<Message> = []
  processed = 0
  /** The last event that was written down as processed, along with all before it. */
  checkpointed: number | undefined
  /** The last event that was handed out. */
  known: number | undefined

  readonly #context: Context
  readonly #filter: Filter
  /** The events that were handed out and are not known to be processed, in the order of the source. */
  readonly #places: Array<Place> = []
  #completed: number | undefined
  #sinceCheckpoint = 0
  #checkpointTimer: NodeJS.Timeout | undefined
  /** The next revision, or the index of the next event of $all. */
  #next: number
  #turn = 0
  #stopListening: (() => void) | undefined
  #stopped = false

  constructor(context: Context, stream: string, name: string, settings: GroupSettings) {
    this.#context = context
    this.stream = stream
    this.name = name
    this.settings = settings
    const { filter } = settings
    this.#filter =
      filter === undefined
        ? everything
        : filterOf({
            hasStreamIdentifier: () => filter.by === "stream",
            getStreamIdentifier: () => ({ getRegex: () => filter.regex, getPrefixList: () => [...filter.prefixes] }),
            getEventType: () => ({ getRegex: () => filter.regex, getPrefixList: () => [...filter.prefixes] })
          })
    this.checkpointed = this.#readCheckpoint()
    this.#next = this.#start()
  }

  get isOfAll(): boolean {
    return this.stream === allStream
  }

  get parkedStream(): string {
    return `$persistentsubscription-${this.stream}::${this.name}-parked`
  }

  get parkedCount(): number {
    const { log } = this.#context
    const last = log.lastRevision(this.parkedStream)
    return log.find(this.parkedStream) === "found" ? Math.max(0, last - log.firstRevision(this.parkedStream) + 1) : 0
  }

  get inFlight(): number {
    return this.consumers.reduce((sum, consumer) => sum + consumer.inFlight.size, 0)
  }

  join(consumer: Consumer): void {
    this.consumers.push(consumer)
    this.pump()
  }

  /** The events that the consumer had go to the others, as if they had not been tried. */
  leave(consumer: Consumer): void {
    const index = this.consumers.indexOf(consumer)
    if (index < 0) return
    this.consumers.splice(index, 1)
    for (const { message, timer } of consumer.inFlight.values()) {
      clearTimeout(timer)
      this.retries.push(message)
    }
    consumer.inFlight.clear()
    if (this.consumers.length === 0) this.#stopWaiting()
    else this.pump()
  }

  acknowledge(consumer: Consumer, ids: ReadonlyArray<string>): void {
    for (const id of ids) {
      const message = this.#take(consumer, id)
      if (message !== undefined) this.#done(message)
    }
    this.pump()
  }

  refuse(consumer: Consumer, ids: ReadonlyArray<string>, action: "park" | "retry" | "skip" | "stop", reason: string) {
    // the server does nothing for "stop": the event is handed out again when it times out
    if (action === "stop") return
    for (const id of ids) {
      const message = this.#take(consumer, id)
      if (message === undefined) continue
      if (action === "park") this.#park(message, reason)
      else if (action === "retry") this.#retry(message)
      else this.#done(message)
    }
    this.pump()
  }

  /** Hands out the parked events again, the oldest first. */
  replayParked(count: number): void {
    const { log } = this.#context
    const first = log.find(this.parkedStream) === "found" ? log.firstRevision(this.parkedStream) : 0
    const end = Math.min(log.lastRevision(this.parkedStream) + 1, first + count)
    for (let revision = first; revision < end; revision += 1) {
      const resolved = log.resolve(log.eventAt(this.parkedStream, revision)!)
      if (resolved.event !== undefined) this.retries.push({ resolved, retries: 0, place: undefined })
    }
    if (end > first) this.#record(`$$${this.parkedStream}`, "$metadata", { $tb: end })
    this.pump()
  }

  stop(): void {
    this.#stopped = true
    for (const consumer of this.consumers) for (const { timer } of consumer.inFlight.values()) clearTimeout(timer)
    clearTimeout(this.#checkpointTimer)
    this.#stopWaiting()
  }

  pump(): void {
    if (this.#stopped) return
    for (;;) {
      const retried = this.retries[0]
      const message = retried ?? this.#peek()
      const consumer = message === undefined ? undefined : this.#choose(message)
      if (message === undefined || consumer === undefined) break
      if (retried !== undefined) this.retries.shift()
      else this.#advance(message)
      this.#deliver(consumer, message)
    }
    if (this.consumers.length > 0 && this.#stopListening === undefined) {
      this.#stopListening = this.#context.writer.next(() => {
        this.#stopListening = undefined
        setImmediate(() => this.pump())
      })
    }
  }

  #stopWaiting(): void {
    this.#stopListening?.()
    this.#stopListening = undefined
  }

  #start(): number {
    const { log } = this.#context
    const { startFrom } = this.settings
    if (this.checkpointed !== undefined) return this.isOfAll ? this.#after(this.checkpointed) : this.checkpointed + 1
    if (startFrom < 0) return this.isOfAll ? log.events.length : log.lastRevision(this.stream) + 1
    return this.isOfAll ? log.indexFrom(startFrom) : startFrom
  }

  #after(position: number): number {
    const { log } = this.#context
    const index = log.indexFrom(position)
    return log.events[index]?.position === position ? index + 1 : index
  }

  /** The next message of the source. */
  #peek(): Message | undefined {
    const event = this.#nextEvent()
    if (event === undefined) return undefined
    const { log } = this.#context
    const resolved = this.settings.resolveLinks ? log.resolve(event) : { event, link: undefined }
    return { resolved, retries: 0, place: { at: this.isOfAll ? event.position : event.revision, done: false } }
  }

  #nextEvent(): LogEvent | undefined {
    const { log } = this.#context
    if (!this.isOfAll) {
      if (log.find(this.stream) !== "found") return undefined
      this.#next = Math.max(this.#next, log.firstRevision(this.stream))
      return log.eventAt(this.stream, this.#next)
    }
    for (let event = log.events[this.#next]; event !== undefined; event = log.events[this.#next]) {
      if (this.#filter(event)) return event
      this.#next += 1
    }
    return undefined
  }

  #advance({ place }: Message): void {
    this.#next += 1
    this.#places.push(place!)
    this.known = place!.at
  }

  #choose({ resolved: { event, link } }: Message): Consumer | undefined {
    const { consumers } = this
    const free = (consumer: Consumer) => consumer.inFlight.size < consumer.bufferSize
    if (consumers.length === 0) return undefined
    if (this.settings.strategy === "DispatchToSingle") return consumers.find(free)
    if (this.settings.strategy.startsWith("Pinned")) {
      const hash = Crypto.createHash("md5")
        .update((event ?? link)!.stream)
        .digest()
        .readUInt32LE()
      const pinned = consumers[hash % consumers.length]!
      return free(pinned) ? pinned : undefined
    }
    for (let offset = 0; offset < consumers.length; offset += 1) {
      const index = (this.#turn + offset) % consumers.length
      if (!free(consumers[index]!)) continue
      this.#turn = index + 1
      return consumers[index]
    }
    return undefined
  }

  #deliver(consumer: Consumer, message: Message): void {
    const id = idOf(message)
    const { messageTimeout } = this.settings
    const timer =
      messageTimeout === 0
        ? undefined
        : setTimeout(() => {
            const late = this.#take(consumer, id)
            if (late !== undefined) this.#retry(late)
            this.pump()
          }, messageTimeout)
    timer?.unref()
    consumer.inFlight.set(id, { message, timer })
    consumer.deliver(message)
  }

  #take(consumer: Consumer, id: string): Message | undefined {
    const found = consumer.inFlight.get(id)
    if (found === undefined) return undefined
    clearTimeout(found.timer)
    consumer.inFlight.delete(id)
    return found.message
  }

  #retry(message: Message): void {
    if (message.retries >= this.settings.maxRetryCount) this.#park(message, "Max retry count exceeded")
    else this.retries.push({ ...message, retries: message.retries + 1 })
  }

  #park(message: Message, reason: string): void {
    const { event, link } = message.resolved
    const target = (event ?? link)!
    const parked = Buffer.from(`${Log.revisionText(target.revision)}@${target.stream}`)
    this.#record(this.parkedStream, "$>", parked, { added: new Date().toISOString(), reason })
    this.#done(message)
  }

  #done({ place }: Message): void {
    this.processed += 1
    if (place === undefined) return
    place.done = true
    while (this.#places[0]?.done) {
      this.#completed = this.#places.shift()!.at
      this.#sinceCheckpoint += 1
    }
    const { checkpointAfter, maxCheckpointCount, minCheckpointCount } = this.settings
    if (this.#sinceCheckpoint >= maxCheckpointCount) this.#checkpoint()
    else if (this.#checkpointTimer === undefined && checkpointAfter > 0) {
      this.#checkpointTimer = setTimeout(() => {
        this.#checkpointTimer = undefined
        if (this.#sinceCheckpoint >= minCheckpointCount) this.#checkpoint()
      }, checkpointAfter)
      this.#checkpointTimer.unref()
    }
  }

  get #checkpointStream(): string {
    return `$persistentsubscription-${this.stream}::${this.name}-checkpoint`
  }

  #checkpoint(): void {
    if (this.#completed === undefined || this.#sinceCheckpoint === 0) return
    this.checkpointed = this.#completed
    this.#sinceCheckpoint = 0
    const text = this.isOfAll ? `"C:${this.#completed}/P:${this.#completed}"` : `${this.#completed}`
    this.#record(this.#checkpointStream, "$SubscriptionCheckpoint", Buffer.from(text))
  }

  #readCheckpoint(): number | undefined {
    const { log } = this.#context
    const event = log.eventAt(this.#checkpointStream, log.lastRevision(this.#checkpointStream))
    if (event === undefined || log.find(this.#checkpointStream) !== "found") return undefined
    return Number(/\d+/.exec(Buffer.from(event.data).toString())![0])
  }

  #record(stream: string, type: string, data: Buffer | object, metadata?: object): void {
    record(this.#context, stream, type, data, metadata)
  }
}

/** Appends an event of the server's own. */
export const record = (
  { writer }: Context,
  stream: string,
  type: string,
  data: Buffer | object,
  metadata?: object
): void => {
  const event = {
    id: Crypto.randomUUID(),
    type,
    json: !Buffer.isBuffer(data),
    data: Buffer.isBuffer(data) ? data : Buffer.from(JSON.stringify(data)),
    metadata: metadata === undefined ? new Uint8Array(0) : Buffer.from(JSON.stringify(metadata))
  }
  writer.submit((log) => {
    const { groups } = log.append([{ stream, expected: Log.any }], [{ target: 0, event }])
    return { groups, answer: () => {} }
  })
}
