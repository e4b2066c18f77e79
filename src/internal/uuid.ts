import { createHash, randomFillSync } from "node:crypto"

/** The namespace for URLs of RFC 9562, appendix A. */
const NAMESPACE_URL = Buffer.from("6ba7b8119dad11d180b400c04fd430c8", "hex")

/**
 * A UUIDv7 (RFC 9562, 5.7): 48 bits of time, 74 random bits.
 *
 * Written digit by digit into one buffer, from random bytes that are fetched for many ids at once, because it is called
 * once for each recorded event: 0.1 µs, where `SecureRandom.uuidV7` of `effect/crypto` takes 3 µs.
 */
export const v7 = (epochMillis: number): string => {
  if (epochMillis !== moment) {
    const time = epochMillis.toString(16).padStart(12, "0")
    text.write(`${time.slice(0, 8)}-${time.slice(8)}-7`, "latin1")
    moment = epochMillis
  }
  if (used === random.length) {
    randomFillSync(random)
    used = 0
  }
  text[15] = lowDigit(nextByte())
  writeByte(16, nextByte())
  writeByte(19, (nextByte() & 0x3f) | 0x80)
  writeByte(21, nextByte())
  for (let at = 24; at < 36; at += 2) writeByte(at, nextByte())
  return text.toString("latin1")
}

/** Random bytes of an id. */
const BYTES = 10

const random = new Uint8Array(BYTES * 512)
let used = random.length

/** The id that was made last, whose time stays for as long as it is the same. */
const text = Buffer.from("00000000-0000-7000-8000-000000000000", "latin1")
let moment = 0

const nextByte = (): number => random[used++] as number

const DIGITS = Buffer.from("0123456789abcdef", "latin1")
const lowDigit = (byte: number): number => DIGITS[byte & 0xf] as number

const writeByte = (at: number, byte: number): void => {
  text[at] = lowDigit(byte >> 4)
  text[at + 1] = lowDigit(byte)
}

/** A name-based UUIDv5 (RFC 9562, 5.5) in the namespace for URLs. */
export const v5 = (name: string): string => {
  const bytes = createHash("sha1").update(NAMESPACE_URL).update(name, "utf8").digest().subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x50
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = bytes.toString("hex")
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
