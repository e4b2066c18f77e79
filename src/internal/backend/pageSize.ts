/** The size of pages: how it is counted, and what it tells about the end of a read. */
import { Effect } from "effect"
import type { Notification } from "../../StoredEvent.ts"

/** The bytes of a page, unless an option sets another limit: 8 MiB. */
export const PAGE_BYTES = 8 * 1024 * 1024

/**
 * The size of an event, counted as cheaply as possible: for text, the UTF-16 units, of which there are never more than
 * bytes.
 */
export const sizeOf = ({ payload, metadata }: Pick<Notification, "payload" | "metadata">): number =>
  payload.length + metadata.length

/** The number of events in a page, and so in memory at once, unless the recorder sets `paging`. */
export const PAGE_EVENTS = 512

/** The requested bounds of a page. */
export interface Bounds {
  readonly limit: number
  readonly maxBytes?: number | undefined
}

/**
 * The length above which a payload is read separately: a page without such payloads is never larger than allowed.
 * `longest`: a length that no payload exceeds.
 */
export const payloadThreshold = ({ limit, maxBytes }: Bounds, longest: number): number =>
  maxBytes === undefined ? longest : Math.min(Math.floor(maxBytes / Math.max(limit, 1)), longest)

/** Whether nothing follows a page: it has fewer events than requested, and did not end because of its size. */
export const isLastPage = (page: ReadonlyArray<Notification>, { limit, maxBytes }: Bounds): boolean =>
  page.length < limit && (page.length === 0 || maxBytes === undefined || !reaches(page, maxBytes))

/**
 * Whether a page has this many bytes. The bytes of its text are counted only if three for each unit would be enough.
 */
const reaches = (page: ReadonlyArray<Notification>, maxBytes: number): boolean => {
  let most = 0
  for (const { payload, metadata } of page) {
    most += (typeof payload === "string" ? 3 * payload.length : payload.length) + 3 * metadata.length
  }
  if (most < maxBytes) return false
  let bytes = 0
  for (const { payload, metadata } of page) bytes += byteLength(payload) + byteLength(metadata)
  return bytes >= maxBytes
}

const utf8 = new TextEncoder()

const byteLength = (payload: string | Uint8Array): number =>
  typeof payload === "string" ? utf8.encode(payload).length : payload.length

/** A page that grows by one event at a time. */
export interface Page {
  readonly events: ReadonlyArray<Notification>
  readonly size: () => number
  /** Whether it accepts no more events. */
  readonly isFull: () => boolean
  readonly add: (event: Notification) => void
}

/** A page without events yet. */
export const makePage = ({ limit, maxBytes = Number.POSITIVE_INFINITY }: Bounds): Page => {
  const events: Array<Notification> = []
  let size = 0
  return {
    events,
    size: () => size,
    isFull: () => events.length >= limit || size >= maxBytes,
    add: (event: Notification) => {
      events.push(event)
      size += sizeOf(event)
    }
  }
}

/** Checks an option that is a number of bytes. */
export const checkBytes = (name: string, bytes: number): Effect.Effect<void> =>
  bytes >= 1
    ? Effect.void
    : Effect.die(new Error(`the option ${name} must be a number of bytes of at least 1, or Infinity, got ${bytes}`))

/** The events of a page, up to the one with which they reach a size. */
export const upToSize = (
  events: ReadonlyArray<Notification>,
  maxBytes: number | undefined
): ReadonlyArray<Notification> => {
  if (maxBytes === undefined) return events
  let size = 0
  for (let i = 0; i < events.length; i++) {
    size += sizeOf(events[i] as Notification)
    if (size >= maxBytes) return events.slice(0, i + 1)
  }
  return events
}

/** Events in pages, each of which ends with the event with which it reaches a size; at least one page. */
export const intoPages = (
  events: ReadonlyArray<Notification>,
  maxBytes: number
): ReadonlyArray<ReadonlyArray<Notification>> => {
  const pages: Array<ReadonlyArray<Notification>> = []
  let rest = events
  do {
    const page = upToSize(rest, maxBytes)
    pages.push(page)
    rest = page.length === rest.length ? [] : rest.slice(page.length)
  } while (rest.length > 0)
  return pages
}
