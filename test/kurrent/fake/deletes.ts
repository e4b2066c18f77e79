/** Soft deletes and tombstones. */
import type * as Grpc from "@grpc/grpc-js"
import { isGone, write } from "./appends.ts"
import type { Context } from "./context.ts"
import * as Encode from "./encode.ts"
import * as Errors from "./errors.ts"
import * as Log from "./Log.ts"
import type { Streams } from "./protocol.ts"
import { streams } from "./protocol.ts"

export const deleteStream =
  (context: Context) =>
  (
    call: Grpc.ServerUnaryCall<Streams.DeleteReq, Streams.DeleteResp>,
    callback: Grpc.sendUnaryData<Streams.DeleteResp>
  ): void =>
    run(context, call, call.request.getOptions(), false, callback, (at) => {
      const position = new streams.DeleteResp.Position()
      position.setCommitPosition(at)
      position.setPreparePosition(at)
      const response = new streams.DeleteResp()
      response.setPosition(position)
      return response
    })

export const tombstone =
  (context: Context) =>
  (
    call: Grpc.ServerUnaryCall<Streams.TombstoneReq, Streams.TombstoneResp>,
    callback: Grpc.sendUnaryData<Streams.TombstoneResp>
  ): void =>
    run(context, call, call.request.getOptions(), true, callback, (at) => {
      const position = new streams.TombstoneResp.Position()
      position.setCommitPosition(at)
      position.setPreparePosition(at)
      const response = new streams.TombstoneResp()
      response.setPosition(position)
      return response
    })

const run = <Request, Response>(
  context: Context,
  call: Grpc.ServerUnaryCall<Request, Response>,
  options: Streams.DeleteReq.Options | Streams.TombstoneReq.Options | undefined,
  hard: boolean,
  callback: Grpc.sendUnaryData<Response>,
  respond: (position: string) => Response
) => {
  const refuse = (refusal: Errors.Refusal) => callback(Errors.serviceError(refusal))
  const denied = context.denies(call)
  if (denied !== undefined) return refuse(denied)
  const stream = Encode.streamName(options?.getStreamIdentifier())
  const expected = options === undefined ? undefined : expectedOf(options)
  if (expected === undefined) return refuse(Errors.invalidArgument("'None' is not a valid expected revision"))
  if (stream === "") return refuse(Errors.thrown)
  write(
    context,
    call,
    "deletes",
    (log) => log.delete(stream, expected, hard),
    (outcome) => {
      if (outcome.result === "success") return callback(null, respond(String(outcome.position)))
      const failure = outcome.failures[0]!
      refuse(
        isGone(failure)
          ? Errors.streamDeleted(stream)
          : Errors.wrongExpectedVersion("Delete", stream, expected, failure.actual)
      )
    },
    refuse
  )
}

const expectedOf = (options: Streams.DeleteReq.Options | Streams.TombstoneReq.Options): number | undefined => {
  if (options.hasRevision()) return Number(options.getRevision())
  if (options.hasNoStream()) return Log.noStream
  if (options.hasAny()) return Log.any
  return options.hasStreamExists() ? Log.streamExists : undefined
}
