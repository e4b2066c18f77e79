/**
 * The client's reads as it receives them: in batches that are not parsed yet.
 *
 * The client's own reads parse each event and hand over one at a time through a generator. If a version of the client
 * does not expose its batches, those reads are used, and what the client has parsed is written as JSON again.
 */
import type {
  RecordedEvent as ClientEvent,
  KurrentDBClient,
  ReadAllOptions,
  ReadStreamOptions
} from "@kurrent/kurrentdb-client"
import type { ClientResolvedEvent, Received, ReceivedEvent } from "./events.ts"
import { toJson } from "./json.ts"

/** Batches of events, in order. */
export type Batches = AsyncIterable<ReadonlyArray<Received>>

/** The options that both reads share, without the client's defaults. */
interface Part {
  readonly direction: "forwards" | "backwards"
  readonly maxCount: number
  readonly resolveLinkTos: boolean
  readonly credentials?: { readonly username: string; readonly password: string }
}

/** The options of a read of a stream. */
export type StreamPart = Part & Required<Pick<ReadStreamOptions, "fromRevision">>

/** The options of a read of `$all`. */
export type AllPart = Part & Required<Pick<ReadAllOptions, "fromPosition">> & Pick<ReadAllOptions, "filter">

/** The reads of a client. Its batches are a public property, but an undocumented one: another version may lack it. */
export type Readable = Pick<KurrentDBClient, "readStream" | "readAll"> & Partial<Pick<KurrentDBClient, "rustClient">>

export const ofStream = (client: Readable, stream: string, part: StreamPart): Batches =>
  client.rustClient?.readStream(stream, toBatched(part)) ?? oneByOne(client.readStream(stream, part))

export const ofAll = (client: Readable, part: AllPart): Batches =>
  client.rustClient?.readAll(toBatched(part)) ?? oneByOne(client.readAll(part))

const toBatched = <P extends Part>({ maxCount, resolveLinkTos, ...part }: P) => ({
  ...part,
  maxCount: BigInt(maxCount),
  resolvesLink: resolveLinkTos,
  requiresLeader: false
})

const oneByOne = async function* (events: AsyncIterable<ClientResolvedEvent>): Batches {
  for await (const { event, link, commitPosition } of events) {
    yield [
      {
        ...(event === undefined ? {} : { event: toReceived(event as ClientEvent) }),
        ...(link === undefined ? {} : { link: toReceived(link as ClientEvent) }),
        ...(commitPosition === undefined ? {} : { commitPosition })
      }
    ]
  }
}

const utf8 = new TextEncoder()

const toReceived = ({ data, metadata, created, position, ...event }: ClientEvent): ReceivedEvent => ({
  ...event,
  ...(position === undefined ? {} : { position }),
  data: event.isJson ? utf8.encode(toJson(data)) : (data as Uint8Array),
  metadata:
    metadata === undefined
      ? new Uint8Array()
      : metadata instanceof Uint8Array
        ? metadata
        : utf8.encode(toJson(metadata)),
  created: created.getTime()
})
