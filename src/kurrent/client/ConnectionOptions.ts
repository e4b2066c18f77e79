import type { Duration, Redacted } from "effect"

/** How to connect to a server. Separate options take precedence over the connection string. */
export interface ConnectionOptions {
  /**
   * `kurrentdb://user:password@host:port?tls=true`, with the schemes `kurrentdb`, `kdb` and `esdb`, each with
   * `+discover` for a cluster that is discovered by its name; several hosts of a cluster are separated by commas. User
   * and password are percent-encoded. A bare `host:port` is a server without TLS.
   */
  readonly connectionString: Redacted.Redacted | string
  /** Default: that of the connection string, if any. */
  readonly username?: string | undefined
  /** Default: that of the connection string, if any. */
  readonly password?: Redacted.Redacted | undefined
  /** The certificates of trusted authorities, as PEM, or the path of a file that contains them. Default: Node's own. */
  readonly rootCertificate?: string | undefined
  /**
   * How long the server may be silent during a call. Default: `defaultDeadline` of the connection string, otherwise 10
   * seconds; at least 10 ms.
   */
  readonly deadline?: Duration.Input | undefined
  /** How many appends, and other calls that change something, run at once; further calls wait. Default 256. */
  readonly maxInFlight?: number | undefined
  /** How long connecting may take when the layer is built. Default 5 seconds; at least 10 ms. */
  readonly connectTimeout?: Duration.Input | undefined
}
