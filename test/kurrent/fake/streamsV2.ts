/** The newer streams service: appends to many streams at once. */
import * as Crypto from "node:crypto"
import type * as Grpc from "@grpc/grpc-js"
import { isGone, sizeOnDisk, write } from "./appends.ts"
import type { Context } from "./context.ts"
import * as Errors from "./errors.ts"
import type { Outcome, Proposed, Target } from "./Log.ts"
import * as Log from "./Log.ts"
import type { StreamsV2 } from "./protocol.ts"
import { streamsV2 } from "./protocol.ts"

export const streamsV2Handlers = (context: Context) => ({
  appendSession: appendSession(context),
  appendRecords: appendRecords(context)
})

/** What an append writes, once all of it is known to be well formed. */
interface Plan {
  readonly targets: Array<Target>
  /** The target that a stream is; the server distinguishes streams without regard to case here. */
  readonly named: Map<string, number>
  readonly events: Array<{ readonly target: number; readonly event: Proposed }>
  size: number
}

const emptyPlan = (): Plan => ({ targets: [], named: new Map(), events: [], size: 0 })

const addTarget = ({ named, targets }: Plan, target: Target): number => {
  const index = targets.push(target) - 1
  named.set(target.stream.toLowerCase(), index)
  return index
}

const schemaName = /^[\p{L}\p{N}_.$:-]+$/u
const guid = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/
const emptyId = "00000000-0000-0000-0000-000000000000"

const revisionStates = [Log.noStream, Log.any, Log.streamExists]
const checkStates = [...revisionStates, Log.softDeleted, Log.tombstoned]

const appendSession =
  (context: Context) =>
  (
    call: Grpc.ServerReadableStream<StreamsV2.AppendRequest, StreamsV2.AppendSessionResponse>,
    callback: Grpc.sendUnaryData<StreamsV2.AppendSessionResponse>
  ) => {
    let ended = false
    const refuse = (refusal: Errors.Refusal) => {
      if (!ended) callback(Errors.serviceError(refusal.v2 ?? refusal))
      ended = true
    }
    const denied = context.denies(call)
    if (denied !== undefined) return refuse(denied)
    const plan = emptyPlan()
    call.on("data", (request: StreamsV2.AppendRequest) => {
      if (ended) return
      const refusal = addRequest(context, plan, request)
      if (refusal !== undefined) refuse(refusal)
    })
    call.on("end", () => {
      if (ended) return
      if (plan.targets.length === 0) return refuse(Errors.v2.noRequests)
      write(
        context,
        call,
        "appends",
        (log) => log.append(plan.targets, plan.events),
        (outcome) => {
          if (outcome.result === "failed") refuse(conflict(plan, outcome.failures[0]!))
          else callback(null, sessionResponse(plan, outcome))
        },
        refuse
      )
    })
  }

const addRequest = (context: Context, plan: Plan, request: StreamsV2.AppendRequest): Errors.Refusal | undefined => {
  const stream = request.getStream()
  const expected = request.hasExpectedRevision() ? Number(request.getExpectedRevision()) : Log.any
  const invalid = invalidStream(stream) ?? invalidState(expected, revisionStates)
  if (invalid !== undefined) return invalid
  if (plan.named.has(stream.toLowerCase())) return Errors.v2.alreadyInSession(stream)
  const records = request.getRecordsList()
  if (records.length === 0) return Errors.invalidArgument("records: must contain at least one record")
  const target = addTarget(plan, { stream, expected })
  return addRecords(
    context,
    plan,
    records.map((record) => [target, record])
  )
}

const addRecords = (
  { settings }: Context,
  plan: Plan,
  records: ReadonlyArray<readonly [target: number, record: StreamsV2.AppendRecord]>
): Errors.Refusal | undefined => {
  for (const [target, record] of records) {
    const event = proposedOf(record)
    if (typeof event === "string") return Errors.invalidArgument(event)
    const size = sizeOnDisk(event)
    if (size > settings.maxAppendEventSize) {
      return Errors.v2.recordTooLarge(plan.targets[target]!.stream, event.id, size, settings.maxAppendEventSize)
    }
    plan.size += size
    if (plan.size > settings.maxAppendSize) return Errors.v2.transactionTooLarge(plan.size, settings.maxAppendSize)
    plan.events.push({ target, event })
  }
  return undefined
}

const invalidStream = (stream: string): Errors.Refusal | undefined =>
  stream === "" || stream === "$$" ? Errors.invalidArgument("stream: must not be empty") : undefined

const invalidState = (state: number, states: ReadonlyArray<number>): Errors.Refusal | undefined =>
  state >= 0 || states.includes(state) ? undefined : Errors.invalidArgument(`expected revision: ${state} is none`)

/** The event, or what is wrong with the record. */
const proposedOf = (record: StreamsV2.AppendRecord): Proposed | string => {
  const { SCHEMA_FORMAT_BYTES, SCHEMA_FORMAT_JSON } = streamsV2.SchemaFormat
  const id = (record.getRecordId() ?? "") === "" ? Crypto.randomUUID() : record.getRecordId()!.toLowerCase()
  if (!guid.test(id) || id === emptyId) return "record_id: must be a non-empty UUID"
  const name = record.getSchema()?.getName() ?? ""
  if (!schemaName.test(name)) {
    return "schema.name: must not be empty and can only contain letters, numbers, underscores, dashes, periods, colons and dollar signs"
  }
  const format = record.getSchema()?.getFormat()
  if (format !== SCHEMA_FORMAT_JSON && format !== SCHEMA_FORMAT_BYTES) return "schema.format: must be JSON or BYTES"
  const json = format === SCHEMA_FORMAT_JSON
  return { id, type: name, json, data: record.getData_asU8(), metadata: metadataOf(record, name, json) }
}

/** The properties as a reader sees them by the older protocol. */
const metadataOf = (record: StreamsV2.AppendRecord, name: string, json: boolean): Uint8Array => {
  const properties: Record<string, unknown> = {}
  for (const [key, value] of record.getPropertiesMap().entries()) properties[key] = value.toJavaScript()
  properties["$schema.name"] = name
  properties["$schema.format"] = json ? "Json" : "Bytes"
  return Buffer.from(JSON.stringify(properties))
}

const conflict = ({ targets }: Plan, failure: Log.Failure): Errors.Refusal => {
  const { stream } = targets[failure.target]!
  return isGone(failure)
    ? Errors.v2.tombstoned(stream)
    : Errors.v2.revisionConflict(stream, failure.expected, failure.actual)
}

const sessionResponse = (
  { targets }: Plan,
  { position, revisions }: Extract<Outcome, { readonly result: "success" }>
): StreamsV2.AppendSessionResponse => {
  const response = new streamsV2.AppendSessionResponse()
  response.setPosition(String(position ?? -1))
  response.setOutputList(
    targets.map(({ stream }, index) => {
      const output = new streamsV2.AppendResponse()
      output.setStream(stream)
      output.setStreamRevision(String(revisions[index]))
      return output
    })
  )
  return response
}

const appendRecords =
  (context: Context) =>
  (
    call: Grpc.ServerUnaryCall<StreamsV2.AppendRecordsRequest, StreamsV2.AppendRecordsResponse>,
    callback: Grpc.sendUnaryData<StreamsV2.AppendRecordsResponse>
  ) => {
    const refuse = (refusal: Errors.Refusal) => callback(Errors.serviceError(refusal.v2 ?? refusal))
    const denied = context.denies(call)
    if (denied !== undefined) return refuse(denied)
    const plan = emptyPlan()
    const invalid = addChecksAndRecords(context, plan, call.request)
    if (invalid !== undefined) return refuse(invalid)
    write(
      context,
      call,
      "appends",
      (log) => log.append(plan.targets, plan.events),
      (outcome) => {
        if (outcome.result === "failed") refuse(Errors.v2.consistencyViolation(violations(plan, outcome.failures)))
        else callback(null, recordsResponse(plan, outcome))
      },
      refuse
    )
  }

/** The streams of checks come first: a record goes to the stream as the check spells it, whatever its own case. */
const addChecksAndRecords = (
  context: Context,
  plan: Plan,
  request: StreamsV2.AppendRecordsRequest
): Errors.Refusal | undefined => {
  for (const check of request.getChecksList()) {
    const state = check.getStreamState()
    if (state === undefined) return Errors.invalidArgument("checks: must say what they check")
    const stream = state.getStream()
    const expected = Number(state.getExpectedState())
    const invalid = invalidStream(stream) ?? invalidState(expected, checkStates)
    if (invalid !== undefined) return invalid
    if (plan.named.has(stream.toLowerCase())) return Errors.invalidArgument(`checks: '${stream}' is checked twice`)
    addTarget(plan, { stream, expected })
  }
  const records: Array<readonly [number, StreamsV2.AppendRecord]> = []
  for (const record of request.getRecordsList()) {
    const stream = record.getStream()
    const invalid = invalidStream(stream)
    if (invalid !== undefined) return invalid
    const target = plan.named.get(stream.toLowerCase()) ?? addTarget(plan, { stream, expected: Log.any })
    records.push([target, record])
  }
  if (records.length === 0) return Errors.invalidArgument("records: must contain at least one record")
  return addRecords(context, plan, records)
}

const violations = ({ targets }: Plan, failures: ReadonlyArray<Log.Failure>): ReadonlyArray<Errors.Violation> =>
  failures.map((failure) => ({
    check: failure.target,
    stream: targets[failure.target]!.stream,
    expected: failure.expected,
    actual: failure.tombstoned ? Log.tombstoned : failure.softDeleted ? Log.softDeleted : failure.actual
  }))

const recordsResponse = (
  { events, targets }: Plan,
  { position, revisions }: Extract<Outcome, { readonly result: "success" }>
): StreamsV2.AppendRecordsResponse => {
  const response = new streamsV2.AppendRecordsResponse()
  response.setPosition(String(position ?? -1))
  response.setRevisionsList(
    [...new Set(events.map(({ target }) => target))].map((target) => {
      const revision = new streamsV2.StreamRevision()
      revision.setStream(targets[target]!.stream)
      revision.setRevision(String(revisions[target]))
      return revision
    })
  )
  return response
}
