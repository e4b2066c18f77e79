/** Keeps a log in an append-only file, so that a fake that was killed returns with everything that it acknowledged. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as V8 from "node:v8"
import * as Zlib from "node:zlib"
import type { Group } from "./Log.ts"

export interface Disk {
  readonly groups: ReadonlyArray<Group>
  /** Returns when it is on the disk. */
  readonly write: (groups: ReadonlyArray<Group>) => void
  readonly close: () => void
}

/** The header of each record: its length and its checksum. */
const headerLength = 8

export const openDisk = (directory: string): Disk => {
  Fs.mkdirSync(directory, { recursive: true })
  const path = Path.join(directory, "log")
  const file = Fs.openSync(path, Fs.constants.O_RDWR | Fs.constants.O_CREAT)
  const { groups, length } = readGroups(Fs.readFileSync(file))
  // a crash left this of an append that was never acknowledged
  Fs.ftruncateSync(file, length)
  let end = length
  return {
    groups,
    write: (written) => {
      const bytes = Buffer.concat(written.flatMap(recordOf))
      for (let done = 0; done < bytes.length; ) done += Fs.writeSync(file, bytes, done, bytes.length - done, end + done)
      Fs.fdatasyncSync(file)
      end += bytes.length
    },
    close: () => Fs.closeSync(file)
  }
}

const recordOf = (group: Group): ReadonlyArray<Buffer> => {
  const payload = V8.serialize(group)
  const header = Buffer.alloc(headerLength)
  header.writeUInt32LE(payload.length, 0)
  header.writeUInt32LE(Zlib.crc32(payload), 4)
  return [header, payload]
}

const readGroups = (bytes: Buffer): { readonly groups: ReadonlyArray<Group>; readonly length: number } => {
  const groups: Array<Group> = []
  let offset = 0
  while (offset + headerLength <= bytes.length) {
    const start = offset + headerLength
    const payload = bytes.subarray(start, start + bytes.readUInt32LE(offset))
    if (payload.length < bytes.readUInt32LE(offset) || Zlib.crc32(payload) !== bytes.readUInt32LE(offset + 4)) break
    groups.push(V8.deserialize(payload))
    offset = start + payload.length
  }
  return { groups, length: offset }
}
