import { RecorderFailure, RecorderUnavailable } from "../../EventSourcingError.ts"
import type { CallError } from "../connection/errors.ts"

/** What a recorder fails with, for what the server could not do; a stream that is not there is no failure of it. */
export const toRecorderError = (operation: string, error: CallError): RecorderUnavailable | RecorderFailure =>
  error._tag === "KurrentUnavailable"
    ? new RecorderUnavailable({ operation, reason: error.reason, cause: error })
    : new RecorderFailure({
        operation,
        reason: error._tag === "KurrentFailure" ? error.reason : error.message,
        cause: error
      })
