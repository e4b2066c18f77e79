import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Readline from "node:readline"
import { describe, expect, onTestFinished } from "vitest"
import type { FakeOptions } from "./server.ts"
import { startFake } from "./server.ts"
import {
  collect,
  connect,
  eventually,
  failure,
  happened,
  happenedMany,
  listen,
  onlyFake,
  revisions,
  streamName,
  until
} from "./testServer.ts"

const temporary = () => {
  const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "fake-"))
  onTestFinished(() => Fs.rmSync(directory, { recursive: true }))
  return directory
}

const start = async (options: FakeOptions) => {
  const fake = await startFake(options)
  let stopped = false
  const stop = async () => {
    if (!stopped) await fake.stop()
    stopped = true
  }
  onTestFinished(stop)
  return { ...fake, stop }
}

describe("a log on disk", () => {
  onlyFake("is the same after a restart: events, revisions, positions, metadata, deletes", async () => {
    const directory = temporary()
    const first = await start({ directory })
    const [stream, soft, gone] = [streamName(), streamName(), streamName()]
    const client = connect(first.uri)
    await client.appendToStream(stream, happenedMany(0, 5))
    await client.setStreamMetadata(stream, { truncateBefore: 2 })
    await client.appendToStream(soft, happenedMany(0, 3))
    await client.deleteStream(soft)
    await client.appendToStream(gone, happened(0))
    await client.tombstoneStream(gone)
    await client.appendToStream(stream, [])
    const before = await collect(client.readAll())
    await first.stop()

    const second = await start({ directory })
    const again = connect(second.uri)
    expect(await collect(again.readAll())).toEqual(before)
    expect(revisions(await collect(again.readStream(stream)))).toEqual([2, 3, 4])
    expect(await failure(collect(again.readStream(soft)))).toMatchObject({ type: "stream-not-found" })
    expect(await failure(collect(again.readStream(gone)))).toMatchObject({ type: "stream-deleted" })
    expect(await again.appendToStream(soft, happened(3), { streamState: 2n })).toMatchObject({
      nextExpectedRevision: 3n
    })
    const last = before.at(-1)!.event!.position!
    const heard = listen(again.subscribeToAll({ fromPosition: last }))
    await until(() => heard.events.length > 0)
    expect(heard.events[0]!.event!.streamId).toBe(soft)
  })

  onlyFake("G7 after a restart exact retries are recognised, and those with any are not", async () => {
    const directory = temporary()
    const first = await start({ directory })
    const [exact, loose] = [streamName(), streamName()]
    const events = happenedMany(0, 2)
    const client = connect(first.uri)
    const answer = await client.appendToStream(exact, events, { streamState: "no_stream" })
    await client.appendToStream(loose, events)
    await first.stop()
    const again = connect((await start({ directory })).uri)
    expect(await again.appendToStream(exact, events, { streamState: "no_stream" })).toEqual(answer)
    await again.appendToStream(loose, events)
    expect(await collect(again.readStream(loose))).toHaveLength(4)
  })

  onlyFake("what a crash left unfinished is cut off", async () => {
    const directory = temporary()
    const first = await start({ directory })
    const stream = streamName()
    const client = connect(first.uri)
    await client.appendToStream(stream, happened(0))
    const whole = Fs.statSync(Path.join(directory, "log")).size
    await client.appendToStream(stream, happenedMany(1, 3))
    await first.stop()
    Fs.truncateSync(Path.join(directory, "log"), whole + 100)
    const again = connect((await start({ directory })).uri)
    expect(revisions(await collect(again.readStream(stream)))).toEqual([0])
    expect(await again.appendToStream(stream, happened(1), { streamState: 0n })).toMatchObject({
      nextExpectedRevision: 1n
    })
    expect(revisions(await collect(again.readStream(stream)))).toEqual([0, 1])
  })
})

/** The fake as a process. */
const spawn = async (...args: ReadonlyArray<string>) => {
  const child = ChildProcess.spawn(process.execPath, [Path.join(import.meta.dirname, "main.ts"), ...args], {
    stdio: ["pipe", "pipe", "inherit"]
  })
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGKILL")
    await new Promise((resolve) => child.once("exit", resolve))
  }
  onTestFinished(kill)
  const lines = Readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => JSON.parse((await lines.next()).value!)
  const { port, uri }: { readonly port: number; readonly uri: string } = await line()
  const fault = async (...call: ReadonlyArray<unknown>) => {
    child.stdin.write(`${JSON.stringify(call)}\n`)
    return line()
  }
  return { child, port, uri, kill, fault }
}

describe("a process", () => {
  onlyFake("SIGKILL in the middle of appends: all that was acknowledged is there once", async () => {
    const directory = temporary()
    let server = await spawn("--directory", directory)
    const { port, uri } = server
    const streams = Array.from({ length: 4 }, () => streamName())
    const acknowledged = streams.map(() => 0)
    const client = connect(uri)
    let killed = 0
    const writing = streams.map(async (stream, writer) => {
      for (let n = 0; n < 300; n += 1) {
        const event = happened(n)
        const streamState = n === 0 ? "no_stream" : BigInt(n - 1)
        await eventually(() => client.appendToStream(stream, event, { streamState }))
        acknowledged[writer] = n + 1
      }
    })
    for (const at of [200, 600]) {
      await until(() => acknowledged.reduce((sum, n) => sum + n) >= at)
      await server.kill()
      killed += 1
      server = await spawn("--directory", directory, "--port", String(port))
    }
    await Promise.all(writing)
    expect(killed).toBe(2)
    const reader = connect(uri)
    for (const stream of streams) {
      expect(revisions(await collect(reader.readStream(stream)))).toEqual(Array.from({ length: 300 }, (_, n) => n))
    }
  })

  onlyFake("is told its faults, and its options", async () => {
    const server = await spawn("--version", "24.10.6", "--maxAppendSize", "1000")
    const client = connect(server.uri)
    const stream = streamName()
    expect(await server.fault("dropAfterWrite", 1)).toEqual({ done: "dropAfterWrite" })
    expect(await failure(client.appendToStream(stream, happened(0)))).toMatchObject({ type: "unavailable" })
    expect(await eventually(() => collect(client.readStream(stream)))).toHaveLength(1)
    expect(await failure(client.appendToStream(stream, happenedMany(1, 50)))).toMatchObject({
      type: "maximum-append-size-exceeded",
      maxAppendSize: 1000
    })
  })

  onlyFake("ends by itself when it is told to, and with its parent", async () => {
    for (const how of ["SIGTERM", "stdin"] as const) {
      const server = await spawn()
      const client = connect(server.uri)
      const heard = listen(client.subscribeToAll())
      await until(() => heard.caughtUp.length > 0)
      const ended = new Promise((resolve) => server.child.once("exit", resolve))
      if (how === "stdin") server.child.stdin.end()
      else server.child.kill("SIGTERM")
      expect(await ended).toBe(0)
      await until(() => heard.errors.length > 0)
      expect(heard.errors[0]).toMatchObject({ type: "unavailable" })
    }
  })
})
