/** What a fake can be told when it is started. */
export interface FakeOptions {
  /** 0, the default, takes any that is free. */
  readonly port?: number
  /** Where the log is kept; in memory without it. */
  readonly directory?: string
  /** The version that the server says it has. What it can do follows from it. */
  readonly version?: string
  /** The administrator, the one user that is let in. Anybody is without it, as on a server that was started with `--insecure`. */
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Others that are let in, by their passwords: no administrators, for whom access control holds. */
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
  /** Whether a subscription that has caught up says when and where. */
  readonly caughtUpSaysWhere: boolean
  /** Whether one that has looked at less than an interval, and found nothing, says that it has come to position 2^64 - 1. */
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

/** Versions by their numbers. */
export const compare = (a: string, b: string): number => {
  const [numbers, others] = [a, b].map((version) => version.split(".").map(Number))
  for (const n of [0, 1, 2]) {
    const difference = (numbers?.[n] ?? 0) - (others?.[n] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
