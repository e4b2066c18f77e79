/** Sends over a call no faster than the other side reads, and notices when it is gone. */
import type * as Grpc from "@grpc/grpc-js"

export class Sender<Response = unknown> {
  /** Settles when the other side is gone. */
  readonly cancelled: Promise<undefined>
  readonly #call: Writable<Response>
  #closed = false

  constructor(call: Writable<Response>) {
    this.#call = call
    this.cancelled = new Promise((resolve) => {
      const close = () => {
        this.#closed = true
        resolve(undefined)
      }
      call.once("cancelled", close)
      call.once("close", close)
      call.once("error", close)
    })
  }

  get closed(): boolean {
    return this.#closed || this.#call.cancelled
  }

  /** A promise only if there is something to wait for. */
  send(response: Response): Promise<unknown> | undefined {
    if (this.closed || this.#call.write(response)) return undefined
    return Promise.race([new Promise((resolve) => this.#call.once("drain", resolve)), this.cancelled])
  }
}

type Writable<Response> = Pick<Grpc.ServerWritableStream<unknown, Response>, "write" | "once" | "cancelled">
