/**
 * Access control: an administrator may do everything, other users what the server's default access control lists allow.
 */
import type { Caller } from "./context.ts"
import * as Errors from "./errors.ts"
import type { Log } from "./Log.ts"
import type { Settings } from "./settings.ts"

export interface Access {
  /** Why a user is not let in, if so. */
  readonly denies: (caller: Caller, anonymous?: "allowed") => Errors.Refusal | undefined
  /**
   * Why a user may not write to a stream, if so: streams that begin with `$`, and their metadata, are the
   * administrator's.
   */
  readonly deniesWrite: (caller: Caller, stream: string) => Errors.Refusal | undefined
  /** Why a user may not read `$all`, if so: it is the administrator's, unless its metadata name others. */
  readonly deniesAll: (caller: Caller) => Errors.Refusal | undefined
}

export const makeAccess = ({ credentials, users }: Settings, log: Log): Access => {
  const given = ({ metadata }: Caller) => {
    const [value] = metadata.get("authorization")
    if (value === undefined) return undefined
    const [user = "", ...rest] = Buffer.from(String(value).replace(/^Basic /, ""), "base64")
      .toString()
      .split(":")
    return { user, password: rest.join(":") }
  }
  const isAdmin = (caller: Caller) => credentials === undefined || given(caller)?.user === credentials.user
  const readersOfAll = (): ReadonlyArray<string> => {
    const metadata = log.eventAt("$$$all", log.lastRevision("$$$all"))
    if (metadata === undefined) return []
    const { $acl } = JSON.parse(Buffer.from(metadata.data).toString())
    return [$acl?.$r ?? []].flat()
  }
  return {
    denies: (caller, anonymous) => {
      if (credentials === undefined) return undefined
      const login = given(caller)
      // what every user may request is returned to unknown users, too
      if (anonymous === "allowed") return undefined
      if (login === undefined) return Errors.accessDenied
      const password = login.user === credentials.user ? credentials.password : users[login.user]
      return password === login.password ? undefined : Errors.unauthenticated
    },
    deniesWrite: (caller, stream) =>
      isAdmin(caller) || !stream.replace(/^\$\$/, "").startsWith("$") ? undefined : Errors.accessDenied,
    deniesAll: (caller) => {
      if (isAdmin(caller)) return undefined
      const readers = readersOfAll()
      return readers.includes("$all") || readers.includes(given(caller)?.user ?? "") ? undefined : Errors.accessDenied
    }
  }
}
