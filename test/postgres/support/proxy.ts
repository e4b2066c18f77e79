/** A proxy between a program and the server, which breaks the connection at a moment that a test chooses. */
import * as Net from "node:net"
import type { Scope } from "effect"
import { Effect } from "effect"

/** The server's error for a session that it does not begin. */
export interface Refusal {
  readonly code: string
  readonly message: string
}

/** A path to the server. */
export interface Proxy {
  /** The URL of the server by this path. */
  readonly url: string
  /** Refuses the next sessions: this many, or all up to the next call. */
  readonly refuse: (refusal: Refusal, sessions?: number) => void
  /** How many sessions were refused. */
  readonly refused: () => number
  /**
   * Lets the server run the next statements, and loses the connection before the response: this many of them, or all.
   */
  readonly loseAnswers: (statements?: number) => void
  /** Loses the connection at the next statements, before they reach the server. */
  readonly loseStatements: (statements?: number) => void
  /** How many responses and statements were lost. */
  readonly lost: () => number
  /** Serves this many sessions at a time, like a pooler in session mode: others begin, and their statements wait. */
  readonly serve: (sessions: number) => void
  /** Lets nothing more through, and notifies neither side, like a server whose machine is frozen. */
  readonly freeze: () => void
  /**
   * Lets nothing more through on existing connections, and notifies neither side, like a firewall that has forgotten
   * them.
   */
  readonly forget: () => void
  /** Lets everything through again, except what was frozen. */
  readonly letThrough: () => void
}

const field = (kind: string, text: string) => `${kind}${text}\0`

/** An ErrorResponse of the protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html). */
const errorResponse = ({ code, message }: Refusal): Buffer => {
  const body = Buffer.from(
    `${field("S", "FATAL")}${field("V", "FATAL")}${field("C", code)}${field("M", message)}\0`,
    "utf8"
  )
  const head = Buffer.from("E\0\0\0\0", "latin1")
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** ReadyForQuery, outside a transaction: it ends each response, and the start of a session. */
const READY = Buffer.from("Z\0\0\0\x05I", "latin1")

/** A path to the server of a URL; closed with the scope, with all connections through it. */
export const startProxy = (of: string): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function* () {
    const target = new URL(of)
    const sockets = new Set<Net.Socket>()
    let toRefuse = 0
    let refusal: Refusal = { code: "", message: "" }
    let toLose = 0
    let losesStatements = false
    let refused = 0
    let lost = 0
    let isFrozen = false
    let generation = 0
    let toServe = Number.POSITIVE_INFINITY
    const served = new Set<Net.Socket>()
    /** What is to be sent once there is room for a session. */
    const queued = new Map<Net.Socket, Array<() => void>>()
    const serveNext = () => {
      for (const [client, sends] of queued) {
        if (served.size >= toServe) return
        served.add(client)
        queued.delete(client)
        for (const send of sends) send()
      }
    }

    const serve = (client: Net.Socket) => {
      if (toRefuse > 0) {
        toRefuse--
        refused++
        client.once("data", () => client.end(errorResponse(refusal)))
        return
      }
      const server = Net.connect(Number(target.port), target.hostname)
      sockets.add(server)
      const mine = generation
      const isForgotten = () => isFrozen || mine !== generation
      const close = () => {
        client.destroy()
        server.destroy()
        sockets.delete(server)
        queued.delete(client)
        if (served.delete(client)) serveNext()
      }
      let isReady = false
      let isLosing = false
      client.on("data", (data) => {
        if (isForgotten()) return
        const isServed = !isReady || served.has(client) || (queued.size === 0 && served.size < toServe)
        if (!isServed) {
          queued.set(client, [...(queued.get(client) ?? []), () => server.write(data)])
          return
        }
        if (isReady) served.add(client)
        // the start and the end of a session are not statements
        if (isReady && toLose > 0 && data[0] !== 0x58) {
          toLose--
          lost++
          if (losesStatements) return close()
          isLosing = true
        }
        server.write(data)
      })
      server.on("data", (data) => {
        if (isForgotten()) return
        const isEnd = data.subarray(-READY.length).equals(READY)
        isReady ||= isEnd
        if (!isLosing) client.write(data)
        else if (isEnd) close()
      })
      for (const socket of [client, server]) {
        socket.setNoDelay(true)
        socket.on("error", close)
        socket.on("close", close)
      }
    }

    const proxy = yield* Effect.acquireRelease(
      Effect.callback<Net.Server>((resume) => {
        const one: Net.Server = Net.createServer((client) => {
          sockets.add(client)
          client.on("error", () => client.destroy())
          client.on("close", () => sockets.delete(client))
          serve(client)
        }).listen(0, "127.0.0.1", () => resume(Effect.succeed(one)))
      }),
      (one) =>
        Effect.sync(() => {
          one.close()
          for (const socket of sockets) socket.destroy()
        })
    )
    const url = new URL(of)
    url.hostname = "127.0.0.1"
    url.port = String((proxy.address() as Net.AddressInfo).port)
    const lose = (what: "answers" | "statements", count: number) => {
      toLose = count
      losesStatements = what === "statements"
    }
    return {
      url: url.href,
      refuse: (next, sessions = Number.POSITIVE_INFINITY) => {
        refusal = next
        toRefuse = sessions
      },
      refused: () => refused,
      loseAnswers: (count = Number.POSITIVE_INFINITY) => lose("answers", count),
      loseStatements: (count = Number.POSITIVE_INFINITY) => lose("statements", count),
      lost: () => lost,
      serve: (sessions) => {
        toServe = sessions
        serveNext()
      },
      freeze: () => {
        isFrozen = true
      },
      forget: () => {
        generation++
      },
      letThrough: () => {
        isFrozen = false
        toServe = Number.POSITIVE_INFINITY
        serveNext()
        toRefuse = 0
        toLose = 0
      }
    }
  })
