import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { describe, expect, onTestFinished } from "vitest"
import { makeCertificates } from "../../support/certificates.ts"
import { collect, connect, failure, happened, listen, onlyFake, startOwn, streamName, until } from "./testServer.ts"

const credentials = { user: "admin", password: "changeit" }

const startSecure = async () => {
  const certificates = makeCertificates()
  const fake = await startOwn({ tls: certificates, credentials })
  const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "fake-"))
  onTestFinished(() => Fs.rmSync(directory, { recursive: true }))
  const authority = Path.join(directory, "ca.pem")
  Fs.writeFileSync(authority, certificates.authority)
  const uri = (user: string, options = `tlsCAFile=${authority}`) =>
    `kurrentdb://${user}127.0.0.1:${fake.port}?tls=true&discoveryInterval=1&${options}`
  return { fake, uri }
}

describe("TLS and credentials", () => {
  onlyFake("the right certificate and the right credentials are let in everywhere", async () => {
    const { uri } = await startSecure()
    const client = connect(uri("admin:changeit@"))
    const stream = streamName()
    await client.appendToStream(stream, happened(0))
    await client.multiStreamAppend([{ streamName: stream, events: [happened(1)], expectedState: 0n }])
    expect(await collect(client.readStream(stream))).toHaveLength(2)
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.caughtUp.length > 0)
    await client.deleteStream(stream)
  })

  onlyFake("a certificate of an unknown authority is not trusted", async () => {
    const { uri } = await startSecure()
    const other = makeCertificates().authority
    const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "fake-"))
    onTestFinished(() => Fs.rmSync(directory, { recursive: true }))
    const path = Path.join(directory, "other.pem")
    Fs.writeFileSync(path, other)
    const client = connect(uri("admin:changeit@", `tlsCAFile=${path}`))
    expect((await failure(client.appendToStream(streamName(), happened(0)))).code).toBe(14)
    expect(await failure(collect(client.readStream(streamName())))).toMatchObject({ type: "unavailable" })
  })

  onlyFake("wrong credentials are not let in, none are not let near streams", async () => {
    const { uri } = await startSecure()
    const wrong = connect(uri("admin:wrong@"))
    expect(await failure(wrong.appendToStream(streamName(), happened(0)))).toMatchObject({ code: 16 })
    expect(await failure(collect(wrong.readStream(streamName())))).toMatchObject({ type: "access-denied" })
    const nobody = connect(uri(""))
    const stream = streamName()
    expect(await failure(nobody.appendToStream(stream, happened(0)))).toMatchObject({ type: "access-denied" })
    expect(await failure(collect(nobody.readStream(stream)))).toMatchObject({ type: "access-denied" })
    const heard = listen(nobody.subscribeToAll())
    await until(() => heard.errors.length > 0)
    expect(heard.errors[0]).toMatchObject({ type: "access-denied" })
    expect(await failure(nobody.deleteStream(stream))).toMatchObject({ type: "access-denied" })
    const request = [{ streamName: stream, events: [happened(1)], expectedState: "any" as const }]
    expect(await failure(nobody.multiStreamAppend(request))).toMatchObject({ code: 7 })
  })
})

describe("gossip", () => {
  onlyFake("a client that discovers finds the leader", async () => {
    const [follower, leader] = [await startOwn(), await startOwn()]
    follower.faults.elect("127.0.0.1", leader.port)
    const hosts = `127.0.0.1:${follower.port},127.0.0.1:${leader.port}`
    const client = connect(`kurrentdb://${hosts}?tls=false&discoveryInterval=1`)
    const stream = streamName()
    await client.appendToStream(stream, happened(0))
    expect(await collect(connect(leader.uri).readStream(stream))).toHaveLength(1)
    expect(await collect(client.readStream(stream))).toHaveLength(1)
  })
})
