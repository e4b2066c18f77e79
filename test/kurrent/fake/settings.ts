/** The settings with which a fake is started. */
export interface FakeOptions {
  /** 0, the default, chooses any free port. */
  readonly port?: number
  /** Where the log is stored; if it is omitted, in memory. */
  readonly directory?: string
  /** The version that the server reports. It decides which features the fake has. */
  readonly version?: string
  /**
   * The administrator, the only user that is let in. If it is omitted, everybody is, as on a server started with
   * `--insecure`.
   */
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Other users that are let in, by their passwords: not administrators, so access control applies to them. */
  readonly users?: Readonly<Record<string, string>>
  /** A certificate and its key, in PEM. */
  readonly tls?: { readonly certificate: string; readonly key: string }
  readonly maxAppendSize?: number
  readonly maxAppendEventSize?: number
}

export interface Settings {
  readonly version: string
  readonly credentials: { readonly user: string; readonly password: string } | undefined
  readonly users: Readonly<Record<string, string>>
  readonly maxAppendSize: number
  readonly maxAppendEventSize: number
  readonly appendSession: boolean
  readonly appendRecords: boolean
  /** Whether a subscription that has caught up reports when and where. */
  readonly caughtUpSaysWhere: boolean
  /** Whether a subscription that has looked at less than an interval, and found nothing, reports position 2^64 - 1. */
  readonly checkpointsBeforeStart: boolean
}

const mebibyte = 1024 * 1024

export const settingsOf = (options: FakeOptions): Settings => {
  const version = options.version ?? "26.1.0"
  const since = (text: string) => compare(version, text) >= 0
  return {
    version,
    credentials: options.credentials,
    users: options.users ?? {},
    maxAppendSize: options.maxAppendSize ?? (since("25.1.0") ? 256 * mebibyte : mebibyte),
    maxAppendEventSize: options.maxAppendEventSize ?? (since("25.1.0") ? 16 * mebibyte : Number.MAX_SAFE_INTEGER),
    appendSession: since("25.1.0"),
    appendRecords: since("26.0.0"),
    caughtUpSaysWhere: since("25.0.1") || (since("24.10.5") && !since("25.0.0")),
    checkpointsBeforeStart: !since("24.10.5")
  }
}

/** Versions as numbers. */
export const compare = (a: string, b: string): number => {
  const [numbers, others] = [a, b].map((version) => version.split(".").map(Number))
  for (const n of [0, 1, 2]) {
    const difference = (numbers?.[n] ?? 0) - (others?.[n] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
