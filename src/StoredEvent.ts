/** The recorded form of an event: what a recorder stores and returns, byte for byte. */
import type * as Position from "./Position.ts"
import type { StreamName } from "./StreamName.ts"

/** An event as it is appended: named, versioned and encoded, not yet in a stream. */
export interface StoredEvent {
  /** Identifies the event everywhere (a UUID); makes a repeated append recognisable (G7). */
  readonly id: string
  /** The stable name of the event's type: letters, digits and `_ . : -`. */
  readonly type: string
  /** The version of the type's schema that the payload was written with; starts at 1. */
  readonly schemaVersion: number
  /** How the payload was encoded, such as `json`, `json+zstd` or `json+zlib+aes-gcm:<key id>`. */
  readonly encoding: string
  /** Text if the encoding left it text (plain JSON), otherwise bytes. */
  readonly payload: string | Uint8Array
  /** A JSON object whose values are strings; see {@link Metadata}. */
  readonly metadata: string
  /** When the event was encoded, in milliseconds since the epoch, by the writer's `Clock`. */
  readonly recordedAt: number
}

/** A stored event in its place: stream, version and position. */
export interface Notification extends StoredEvent {
  readonly stream: StreamName
  /** The event's place in its stream: 0, 1, 2… */
  readonly version: number
  /** The event's place in the recorder's total order. */
  readonly position: Position.Position
}

/** Whether a text may be the name of an event type. */
export const isType = (type: string): boolean => /^[A-Za-z0-9_.:-]{1,256}$/.test(type)
