import { RecorderFailure, RecorderUnavailable } from "../../EventSourcingError.ts"
import type { CallError } from "../connection/errors.ts"

/** The recorder's error for a call that failed. A missing stream is not a failure of the recorder. */
export const toRecorderError = (operation: string, error: CallError): RecorderUnavailable | RecorderFailure =>
  error._tag === "KurrentUnavailable"
    ? new RecorderUnavailable({ operation, reason: error.reason, cause: error })
    : new RecorderFailure({
        operation,
        reason: error._tag === "KurrentFailure" ? error.reason : error.message,
        cause: error
      })
