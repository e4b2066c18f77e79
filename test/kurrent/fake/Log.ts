/**
 * The fake's transaction log: what KurrentDB records and returns, without its network and its disk.
 *
 * Positions are byte offsets: with gaps, rising within an append too, and only those at which a record starts can be
 * read from.
 */
import * as Crypto from "node:crypto"

/** Expected versions that are not a revision. */
export const noStream = -1
export const any = -2
export const streamExists = -4
export const softDeleted = -5
export const tombstoned = -6

/** The revision of a tombstone, and the `$tb` of a soft delete: 2^63 - 1, which a number can only round up. */
export const lastRevision = 2 ** 63
export const revisionText = (revision: number): string =>
  revision >= lastRevision ? "9223372036854775807" : String(revision)

/** An event as a client proposes it. */
export interface Proposed {
  readonly id: string
  readonly type: string
  readonly json: boolean
  readonly data: Uint8Array
  readonly metadata: Uint8Array
}

/** An event as it is recorded. */
export interface LogEvent extends Proposed {
  readonly stream: string
  readonly revision: number
  readonly position: number
  /** Where the next record starts. */
  readonly end: number
  /** In milliseconds since 1970. */
  readonly created: number
}

/** An event, or a link together with the event that it leads to. */
export interface Resolved {
  readonly event: LogEvent | undefined
  readonly link: LogEvent | undefined
}

/** What one append wrote, as it goes to the disk: all or nothing. */
export interface Group {
  readonly start: number
  readonly end: number
  readonly events: ReadonlyArray<LogEvent>
}

/** A stream that an append names, and the version that it expects. */
export interface Target {
  readonly stream: string
  readonly expected: number
}

export interface Failure {
  readonly target: number
  readonly expected: number
  /** The last revision, or -1. */
  readonly actual: number
  readonly softDeleted: boolean
  readonly tombstoned: boolean
}

export type Outcome =
  | {
      readonly result: "success"
      /** The last revision of each target, or -1. */
      readonly revisions: ReadonlyArray<number>
      /** The position of the last event. */
      readonly position: number | undefined
    }
  | { readonly result: "failed"; readonly failures: ReadonlyArray<Failure> }
  /** The server throws and never responds. */
  | { readonly result: "unanswerable" }

interface Stream {
  readonly events: Array<LogEvent>
  tombstone: LogEvent | undefined
  /** The content of the metadata stream, and the revision of the event that it was read from. */
  metadata: { readonly at: number; readonly value: StreamMetadata } | undefined
}

interface StreamMetadata {
  readonly maxCount?: number
  readonly maxAge?: number
  readonly truncateBefore?: number
}

type Check =
  | { readonly decision: "ok"; readonly current: number; readonly softDeleted: boolean }
  | { readonly decision: "idempotent"; readonly last: number; readonly position: number | undefined }
  | { readonly decision: "failed"; readonly current: number; readonly softDeleted: boolean }
  | { readonly decision: "corrupted"; readonly current: number }
  | { readonly decision: "unanswerable" }

/** What a read of one stream finds. */
export type Found = "found" | "notFound" | "deleted"

const metadataOf = (stream: string) => `$$${stream}`
const isMetastream = (stream: string) => stream.startsWith("$$")
const originalOf = (stream: string) => stream.slice(2)
const none = new Uint8Array(0)
const encode = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)))

/** The bytes of a record in addition to the names and the payload. */
const recordOverhead = 94
const sizeOf = (event: Proposed, stream: string) =>
  recordOverhead + Buffer.byteLength(stream) + Buffer.byteLength(event.type) + event.data.length + event.metadata.length

/** The ids that the server remembers for appends with expected version "Any": 8 MiB of them, none after a restart. */
const rememberedBytes = 8 * 1024 * 1024

export class Log {
  /** All events, in the order of their positions. */
  readonly events: Array<LogEvent> = []
  /** Where the next record will start. */
  head = 0
  /** How many events the newest append wrote. */
  newest = 0

  /** The positions at which records start that are not events. */
  readonly #others: Array<number> = []
  readonly #streams = new Map<string, Stream>()
  readonly #remembered = new Map<string, { readonly stream: string; readonly revision: number }>()
  #rememberedSize = 0
  readonly #clock: () => number

  constructor(clock: () => number = Date.now) {
    this.#clock = clock
  }

  /** What a server writes on its own: its users when it is new, and that it is the leader now. */
  boot(): ReadonlyArray<Group> {
    const groups: Array<Group> = []
    // the epoch, a record that is not an event
    groups.push(this.#write([], 61))
    const system = (stream: string, type: string, data: unknown) =>
      groups.push(
        this.#write([
          { stream, event: { id: Crypto.randomUUID(), type, json: true, data: encode(data), metadata: none } }
        ])
      )
    system("$epoch-information", "$epoch-information", { epochNumber: groups.length })
    if (this.events.length === 1) {
      system("$$$settings", "$metadata", { $acl: { $r: ["$all"], $w: ["$admins"] } })
      system("$$$user-admin", "$metadata", { $acl: { $r: ["$admins"], $w: ["$admins"] } })
      system("$user-admin", "$UserCreated", { loginName: "admin", groups: ["$admins"] })
      system("$users", "$User", "admin")
      system("$$$user-ops", "$metadata", { $acl: { $r: ["$admins"], $w: ["$admins"] } })
      system("$user-ops", "$UserCreated", { loginName: "ops", groups: ["$ops"] })
      system("$users", "$User", "ops")
      system("$projections-$master", "$ProjectionsInitialized", {})
    }
    return groups
  }

  /** Takes over what another log, or an earlier one, has written. */
  restore(group: Group): void {
    if (group.events.length === 0) this.#others.push(group.start)
    for (const event of group.events) this.#index(event)
    if (group.events.length > 0) this.newest = group.events.length
    this.head = group.end
  }

  /** Appends all events or none. Every target is checked, also those without events. */
  append(
    targets: ReadonlyArray<Target>,
    events: ReadonlyArray<{ readonly target: number; readonly event: Proposed }>
  ): { readonly outcome: Outcome; readonly groups: ReadonlyArray<Group> } {
    const ids: Array<Array<string>> = targets.map(() => [])
    for (const { target, event } of events) ids[target]!.push(event.id)
    const checks = targets.map(({ stream, expected }, index) => this.#check(stream, expected, ids[index]!))
    const done = (outcome: Outcome, groups: ReadonlyArray<Group> = []) => ({ outcome, groups })

    if (checks.some(({ decision }) => decision === "unanswerable")) return done({ result: "unanswerable" })
    const written = checks.filter((_, index) => ids[index]!.length > 0)
    if (written.length > 0 && written.every(({ decision }) => decision === "idempotent")) {
      const positions = written.flatMap((check) => (check.decision === "idempotent" ? [check.position] : []))
      return done({
        result: "success",
        revisions: checks.map((check) => (check.decision === "idempotent" ? check.last : -1)),
        position: positions.includes(undefined) ? undefined : Math.max(...positions.map((position) => position!))
      })
    }
    const failures = checks.flatMap((check, target): ReadonlyArray<Failure> => {
      if (check.decision === "ok" || check.decision === "unanswerable") return []
      const { stream, expected } = targets[target]!
      const actual = check.decision === "idempotent" ? this.lastRevision(stream) : check.current
      return [
        {
          target,
          expected,
          actual,
          softDeleted: check.decision === "failed" && check.softDeleted,
          tombstoned: actual === lastRevision
        }
      ]
    })
    if (failures.length > 0) return done({ result: "failed", failures })

    if (events.length === 0) {
      // a record that is not an event: the log moves, the stream does not
      const groups = [this.#write([], recordOverhead), ...this.#undelete(targets, checks)]
      return done({ result: "success", revisions: checks.map(currentOf), position: undefined }, groups)
    }
    const undeletedMetastreams = targets.filter(
      ({ stream }) => isMetastream(stream) && this.isSoftDeleted(originalOf(stream))
    )
    const group = this.#write(events.map(({ target, event }) => ({ stream: targets[target]!.stream, event })))
    const groups = [group, ...this.#undelete(targets, checks)]
    for (const { stream } of undeletedMetastreams) {
      const original = originalOf(stream)
      groups.push(...this.#recreate(original, this.lastRevision(original) + 1))
    }
    return done(
      {
        result: "success",
        revisions: targets.map(({ stream }, index) => (ids[index]!.length > 0 ? this.#lastOf(group, stream) : -1)),
        position: group.events.at(-1)!.position
      },
      groups
    )
  }

  /** A soft delete hides the events that exist; a tombstone closes the stream forever. */
  delete(
    stream: string,
    expected: number,
    hard: boolean
  ): { readonly outcome: Outcome; readonly groups: ReadonlyArray<Group> } {
    const id = Crypto.randomUUID()
    const check = this.#check(stream, expected, [id])
    const failed = (actual: number, deleted: boolean): Outcome => ({
      result: "failed",
      failures: [{ target: 0, expected, actual, softDeleted: deleted, tombstoned: actual === lastRevision }]
    })
    if (check.decision !== "ok") {
      return {
        outcome: failed(this.lastRevision(stream), check.decision === "failed" && check.softDeleted),
        groups: []
      }
    }
    if (!hard && this.lastRevision(stream) < 0 && this.lastRevision(metadataOf(stream)) < 0) {
      return { outcome: failed(-1, false), groups: [] }
    }
    const group = hard
      ? this.#write(
          [{ stream, event: { id, type: "$streamDeleted", json: false, data: none, metadata: none } }],
          0,
          true
        )
      : this.#write([
          {
            stream: metadataOf(stream),
            event: {
              id,
              type: "$metadata",
              json: true,
              data: new Uint8Array(Buffer.from(`{"$tb":${revisionText(lastRevision)}}`)),
              metadata: none
            }
          }
        ])
    return {
      outcome: { result: "success", revisions: [-1], position: group.events[0]!.position },
      groups: [group]
    }
  }

  /** The last revision of a stream, whether it can be read or not; -1 if there is none. */
  lastRevision(stream: string): number {
    const found = this.#streams.get(stream)
    if (found === undefined) return -1
    return found.tombstone === undefined ? found.events.length - 1 : lastRevision
  }

  isSoftDeleted(stream: string): boolean {
    return (this.#metadata(stream).truncateBefore ?? 0) >= lastRevision
  }

  find(stream: string): Found {
    const last = this.lastRevision(stream)
    if (last === lastRevision) return "deleted"
    return last < 0 || this.isSoftDeleted(stream) ? "notFound" : "found"
  }

  /** The first revision that a read of the stream returns. */
  firstRevision(stream: string): number {
    const { maxCount, maxAge, truncateBefore } = this.#metadata(stream)
    const last = this.lastRevision(stream)
    let first = Math.max(0, truncateBefore ?? 0, maxCount === undefined ? 0 : last - maxCount + 1)
    if (maxAge !== undefined) {
      const oldest = this.#clock() - maxAge * 1000
      const events = this.#streams.get(stream)?.events ?? []
      first = Math.max(
        first,
        bisect(events.length, (index) => events[index]!.created >= oldest)
      )
    }
    return first
  }

  /** An event by its revision, whether it can be read or not. */
  eventAt(stream: string, revision: number): LogEvent | undefined {
    const found = this.#streams.get(stream)
    return revision === lastRevision ? found?.tombstone : found?.events[revision]
  }

  /** Follows a link; the event that it leads to may be gone. */
  resolve(event: LogEvent): Resolved {
    if (event.type !== "$>") return { event, link: undefined }
    const body = Buffer.from(event.data).toString()
    const at = body.indexOf("@")
    const stream = body.slice(at + 1)
    const revision = Number(body.slice(0, at))
    const readable =
      at > 0 &&
      Number.isSafeInteger(revision) &&
      this.find(stream) === "found" &&
      revision >= this.firstRevision(stream)
    return { event: readable ? this.eventAt(stream, revision) : undefined, link: event }
  }

  /** The index of the first event at or after a position. */
  indexFrom(position: number): number {
    return bisect(this.events.length, (index) => this.events[index]!.position >= position)
  }

  /** Whether a record starts at the position, so that it can be read from. */
  isRecordStart(position: number): boolean {
    if (position === 0 || position === this.head) return true
    if (this.events[this.indexFrom(position)]?.position === position) return true
    const others = this.#others
    return others[bisect(others.length, (index) => others[index]! >= position)] === position
  }

  /** The position of the last event, as far as the log can be read. */
  get lastPosition(): number {
    return this.events.at(-1)?.position ?? -1
  }

  #lastOf(group: Group, stream: string): number {
    return group.events.findLast((event) => event.stream === stream)?.revision ?? -1
  }

  #metadata(stream: string): StreamMetadata {
    // a read of a metadata stream returns only the last event
    if (isMetastream(stream)) return { maxCount: 1 }
    const events = this.#streams.get(metadataOf(stream))?.events ?? []
    if (events.length === 0) return {}
    const owner = this.#stream(stream)
    if (owner.metadata?.at !== events.length) {
      owner.metadata = { at: events.length, value: parseMetadata(events.at(-1)!.data) }
    }
    return owner.metadata.value
  }

  #stream(name: string): Stream {
    let stream = this.#streams.get(name)
    if (stream === undefined) {
      stream = { events: [], tombstone: undefined, metadata: undefined }
      this.#streams.set(name, stream)
    }
    return stream
  }

  #check(stream: string, expected: number, ids: ReadonlyArray<string>): Check {
    const current = this.lastRevision(stream)
    const ok = (): Check => ({ decision: "ok", current, softDeleted: this.isSoftDeleted(stream) })
    const failed = (): Check => ({ decision: "failed", current, softDeleted: this.isSoftDeleted(stream) })

    if (current === lastRevision) {
      const expectable = expected === any || expected === noStream || expected === tombstoned
      return ids.length === 0 && expectable
        ? { decision: "ok", current, softDeleted: false }
        : { decision: "failed", current, softDeleted: false }
    }
    if (expected === tombstoned) return failed()
    if (expected === softDeleted) return this.isSoftDeleted(stream) ? ok() : failed()
    if (expected === streamExists) {
      const there = current >= 0 || this.lastRevision(metadataOf(stream)) >= 0
      if (!there || this.isSoftDeleted(stream)) return failed()
    }

    if (expected === any || expected === streamExists) {
      const found: Array<number> = []
      for (const id of ids) {
        const remembered = this.#remembered.get(id)
        if (remembered === undefined || remembered.stream !== stream) {
          return found.length === 0 ? ok() : { decision: "corrupted", current }
        }
        found.push(remembered.revision)
      }
      if (found.length === 0) return ok()
      const last = found.at(-1)!
      return last < found[0]! - 1 ? { decision: "unanswerable" } : this.#idempotent(stream, last)
    }

    if (expected < current) {
      for (const [index, id] of ids.entries()) {
        if (this.eventAt(stream, expected + 1 + index)?.id === id) continue
        if (index > 0) return { decision: "corrupted", current }
        return expected === noStream && this.isSoftDeleted(stream) ? ok() : failed()
      }
      if (ids.length === 0) return expected === noStream && this.isSoftDeleted(stream) ? ok() : failed()
      return this.#idempotent(stream, expected + ids.length)
    }
    return expected > current ? failed() : ok()
  }

  /** The response to an append that was recorded before; without a position if the event can no longer be read. */
  #idempotent(stream: string, last: number): Check {
    const readable = this.find(stream) === "found" && last >= this.firstRevision(stream)
    return { decision: "idempotent", last, position: readable ? this.eventAt(stream, last)?.position : undefined }
  }

  /** What the server appends, after the events, to a stream that returns from a soft delete. */
  #undelete(targets: ReadonlyArray<Target>, checks: ReadonlyArray<Check>): ReadonlyArray<Group> {
    return targets.flatMap(({ stream }, index) => {
      const check = checks[index]!
      return check.decision === "ok" && check.softDeleted && this.isSoftDeleted(stream)
        ? this.#recreate(stream, check.current + 1)
        : []
    })
  }

  #recreate(stream: string, from: number): ReadonlyArray<Group> {
    const metastream = metadataOf(stream)
    const newest = this.eventAt(metastream, this.lastRevision(metastream))
    const metadata = newest === undefined ? undefined : parseObject(newest.data)
    if (metadata === undefined) return []
    return [
      this.#write([
        {
          stream: metastream,
          event: {
            id: Crypto.randomUUID(),
            type: "$metadata",
            json: true,
            data: encode({ ...metadata, $tb: from }),
            metadata: none
          }
        }
      ])
    ]
  }

  #write(
    proposed: ReadonlyArray<{ readonly stream: string; readonly event: Proposed }>,
    extra = 0,
    tombstone = false
  ): Group {
    const start = this.head
    const created = this.#clock()
    const events: Array<LogEvent> = []
    for (const { stream, event } of proposed) {
      const end = this.head + sizeOf(event, stream)
      const revision = tombstone ? lastRevision : this.lastRevision(stream) + 1
      const { id, type, json, data, metadata } = event
      const recorded = { id, type, json, data, metadata, stream, revision, position: this.head, end, created }
      this.#index(recorded)
      this.#remember(recorded)
      events.push(recorded)
      this.head = end
    }
    if (events.length === 0) {
      this.#others.push(start)
      this.head += extra
    } else {
      this.newest = events.length
    }
    return { start, end: this.head, events }
  }

  #index(event: LogEvent): void {
    const stream = this.#stream(event.stream)
    if (event.revision === lastRevision) stream.tombstone = event
    else stream.events.push(event)
    this.events.push(event)
  }

  #remember({ id, stream, revision }: LogEvent): void {
    const size = 28 + 2 * stream.length
    if (this.#remembered.delete(id)) this.#rememberedSize -= size
    this.#remembered.set(id, { stream, revision })
    this.#rememberedSize += size
    for (const [oldest, { stream: its }] of this.#remembered) {
      if (this.#rememberedSize <= rememberedBytes) break
      this.#remembered.delete(oldest)
      this.#rememberedSize -= 28 + 2 * its.length
    }
  }
}

const currentOf = (check: Check) => (check.decision === "ok" ? check.current : -1)

/** The first index from which on a condition holds. */
const bisect = (length: number, holds: (index: number) => boolean): number => {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low
}

const parseObject = (data: Uint8Array): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(Buffer.from(data).toString())
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

const parseMetadata = (data: Uint8Array): StreamMetadata => {
  const value = parseObject(data) ?? {}
  const number = (key: string) => (typeof value[key] === "number" ? (value[key] as number) : undefined)
  const maxCount = number("$maxCount")
  const maxAge = number("$maxAge")
  const truncateBefore = number("$tb")
  return {
    ...(maxCount === undefined ? {} : { maxCount }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(truncateBefore === undefined ? {} : { truncateBefore })
  }
}
