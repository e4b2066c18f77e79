/** What a fake can be told when it is started. */
export interface FakeOptions {
  /** 0, the default, takes any that is free. */
  readonly port?: number
  /** Where the log is kept; in memory without it. */
  readonly directory?: string
  /** The version that the server says it has. What it can do follows from it. */
  readonly version?: string
  /** The one user that is let in. Anybody is without it, as on a server that was started with `--insecure`. */
  readonly credentials?: { readonly user: string; readonly password: string }
  /** A certificate and its key, in PEM. */
  readonly tls?: { readonly certificate: string; readonly key: string }
  readonly maxAppendSize?: number
  readonly maxAppendEventSize?: number
}

export interface Settings {
  readonly version: string
  readonly credentials: { readonly user: string; readonly password: string } | undefined
  readonly maxAppendSize: number
  readonly maxAppendEventSize: number
  readonly appendSession: boolean
  readonly appendRecords: boolean
  /** Whether a subscription that has caught up says when and where. */
  readonly caughtUpSaysWhere: boolean
}

const mebibyte = 1024 * 1024

export const settingsOf = (options: FakeOptions): Settings => {
  const version = options.version ?? "26.1.0"
  const [major = 0, minor = 0] = version.split(".").map(Number)
  const since = (since: number) => major + minor / 100 >= since
  return {
    version,
    credentials: options.credentials,
    maxAppendSize: options.maxAppendSize ?? (since(25.01) ? 256 * mebibyte : mebibyte),
    maxAppendEventSize: options.maxAppendEventSize ?? (since(25.01) ? 16 * mebibyte : Number.MAX_SAFE_INTEGER),
    appendSession: since(25.01),
    appendRecords: since(26),
    caughtUpSaysWhere: since(25)
  }
}
