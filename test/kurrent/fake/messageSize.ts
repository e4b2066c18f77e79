/** The limit of one message to the older streams service, which grpc-js could only set for all services. */
import type * as Grpc from "@grpc/grpc-js"
import type { Refusal } from "./errors.ts"
import { messageTooLarge } from "./errors.ts"

const maximum = 16 * 1024 * 1024 - 10_000

const sizes = new WeakMap<object, number>()

/** A method that notes the size of messages that are too large, so that their handler can refuse them. */
export const measured = <Request extends object, Response>(
  method: Grpc.MethodDefinition<Request, Response>
): Grpc.MethodDefinition<Request, Response> => ({
  ...method,
  requestDeserialize: (bytes) => {
    const request = method.requestDeserialize(bytes)
    if (bytes.length > maximum) sizes.set(request, bytes.length)
    return request
  }
})

export const oversized = (request: object): Refusal | undefined => {
  const size = sizes.get(request)
  return size === undefined ? undefined : messageTooLarge(size, maximum)
}
