import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure, RecorderUnavailable } from "../../EventSourcingError.ts"
import type { CallError } from "../connection/errors.ts"
import { isAccessDenied, orUnsupported } from "../connection/errors.ts"

/** The recorder's error for a call that failed. A missing stream is not a failure of the recorder. */
export const toRecorderError = (operation: string, error: CallError): RecorderUnavailable | RecorderFailure =>
  error._tag === "KurrentUnavailable"
    ? new RecorderUnavailable({ operation, reason: error.reason, cause: error })
    : new RecorderFailure({
        operation,
        reason: error._tag === "KurrentFailure" ? error.reason : error.message,
        ...(orUnsupported(error)._tag === "Unsupported" ? { isUnsupported: true } : {}),
        cause: error
      })

/** The recorder's error for a read of the total order. */
export const toLogError = (error: CallError): RecorderError =>
  isAccessDenied(error)
    ? new RecorderFailure({
        operation: "read the log",
        reason: `the user needs the right to read "$all", which contains the log; name the user in the metadata of "$all" (KurrentClient.updateStreamMetadata, $acl), or use a member of $admins (${toRecorderError("read the log", error).reason})`,
        cause: error
      })
    : toRecorderError("read the log", error)
