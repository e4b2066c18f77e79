/** Certificates for a server at 127.0.0.1 and localhost, made when they are needed, so that no key is stored here. */
import * as Crypto from "node:crypto"

export interface Certificates {
  /** The authority that signed, for clients. */
  readonly authority: string
  /** For the server. */
  readonly certificate: string
  readonly key: string
}

export const makeCertificates = (): Certificates => {
  const pair = () => Crypto.generateKeyPairSync("ec", { namedCurve: "P-256" })
  const [authority, server] = [pair(), pair()]
  const issuer = name("Authority of the tests")
  const caOnly = extension("551d13", true, sequence(boolean(true)))
  const hosts = extension(
    "551d11",
    false,
    sequence(tagged(0x82, Buffer.from("localhost")), tagged(0x87, Buffer.from([127, 0, 0, 1])))
  )
  const certificate = (subject: Buffer, key: Crypto.KeyObject, itsExtension: Buffer) =>
    sign(issuer, subject, key, itsExtension, authority.privateKey)
  return {
    authority: certificate(issuer, authority.publicKey, caOnly),
    certificate: certificate(name("localhost"), server.publicKey, hosts),
    key: server.privateKey.export({ type: "pkcs8", format: "pem" }).toString()
  }
}

const sign = (issuer: Buffer, subject: Buffer, key: Crypto.KeyObject, itsExtension: Buffer, by: Crypto.KeyObject) => {
  const algorithm = sequence(oid("2a8648ce3d040302"))
  const day = 24 * 3600 * 1000
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    // a leading 1 keeps the serial number positive
    integer(Buffer.concat([Buffer.from([1]), Crypto.randomBytes(15)])),
    algorithm,
    issuer,
    sequence(time(Date.now() - day), time(Date.now() + 30 * day)),
    subject,
    key.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(itsExtension))
  )
  const signature = Crypto.sign("sha256", body, by)
  const der = sequence(body, algorithm, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])))
  const lines = der.toString("base64").replace(/.{64}/g, "$&\n")
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

const tagged = (tag: number, ...content: ReadonlyArray<Buffer>): Buffer => {
  const bytes = Buffer.concat(content)
  const { length } = bytes
  const header =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(header), bytes])
}

const sequence = (...content: ReadonlyArray<Buffer>) => tagged(0x30, ...content)
const integer = (value: Buffer) => tagged(0x02, value)
const boolean = (value: boolean) => tagged(0x01, Buffer.from([value ? 0xff : 0]))
const oid = (hex: string) => tagged(0x06, Buffer.from(hex, "hex"))
const time = (at: number) => tagged(0x18, Buffer.from(`${new Date(at).toISOString().slice(0, 19).replace(/\D/g, "")}Z`))
const name = (common: string) => sequence(tagged(0x31, sequence(oid("550403"), tagged(0x0c, Buffer.from(common)))))
const extension = (id: string, critical: boolean, value: Buffer) =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), tagged(0x04, value))
