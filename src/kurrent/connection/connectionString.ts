/** Parses connection strings as people write them, and writes them as the client understands them. */
import { Result } from "effect"

/** A parsed connection string. */
export interface Parsed {
  /** For the client, with user and password in it. */
  readonly text: string
  /** Whether it names a single node, which is contacted directly. */
  readonly isSingleNode: boolean
  readonly tls: boolean
  /** Its `defaultDeadline`, in milliseconds. */
  readonly deadline: number | undefined
  /** Not percent-encoded. */
  readonly credentials: { readonly username: string; readonly password: string } | undefined
}

/** Options that override the connection string. */
export interface Overrides {
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** The path of a file with the certificates of trusted authorities. */
  readonly rootCertificate?: string | undefined
}

const SCHEME = /^(?:kurrentdb|kurrent|kdb|esdb)(\+discover)?:\/\//i
/** Options that have another name in the client. */
const OTHER_NAMES: Readonly<Record<string, string>> = { rootcertificate: "tlsCAFile" }

const isBoolean = (value: string): boolean => /^(true|false)$/i.test(value)
const isInteger = (value: string): boolean => /^-?\d{1,15}$/.test(value)
const isPreference = (value: string): boolean =>
  /^(follower|leader|random|readOnlyReplica|read_only_replica)$/i.test(value)
const isText = (): boolean => true

/** The client's options and their values. The client would ignore any others. */
const OPTIONS: Readonly<Record<string, { readonly is: (value: string) => boolean; readonly form: string }>> = {
  tls: { is: isBoolean, form: "true or false" },
  tlsVerifyCert: { is: isBoolean, form: "true or false" },
  tlsCAFile: { is: isText, form: "a path" },
  userCertFile: { is: isText, form: "a path" },
  userKeyFile: { is: isText, form: "a path" },
  nodePreference: { is: isPreference, form: "leader, follower, random or readOnlyReplica" },
  maxDiscoverAttempts: { is: isInteger, form: "an integer" },
  discoveryInterval: { is: isInteger, form: "an integer (milliseconds)" },
  gossipTimeout: { is: isInteger, form: "an integer (seconds)" },
  defaultDeadline: { is: isInteger, form: "an integer (milliseconds)" },
  keepAliveInterval: { is: isInteger, form: "an integer (milliseconds)" },
  keepAliveTimeout: { is: isInteger, form: "an integer (milliseconds)" },
  throwOnAppendFailure: { is: isBoolean, form: "true or false" },
  connectionName: { is: isText, form: "a name" }
}

/** Parses a connection string. Failures do not quote it, since it may contain a password. */
export const parse = (input: string, overrides: Overrides = {}): Result.Result<Parsed, string> => {
  const text = input.trim()
  if (text === "") return Result.fail("the connection string is empty")
  for (const [name, given] of Object.entries({ "connection string": text, ...overrides })) {
    if (given?.isWellFormed() === false) return Result.fail(`the ${name} contains half of a surrogate pair`)
  }
  const scheme = SCHEME.exec(text)
  if (scheme === null && text.includes("://")) {
    return Result.fail(
      "the scheme of a connection string must be kurrentdb://, kdb:// or esdb://, optionally with +discover"
    )
  }
  // a bare host:port is a node without TLS
  const isBare = scheme === null
  const rest = isBare ? text : text.slice(scheme[0].length)
  const question = rest.indexOf("?")
  const beforeQuery = question < 0 ? rest : rest.slice(0, question)
  const at = beforeQuery.lastIndexOf("@")
  const hosts = beforeQuery.slice(at + 1).replace(/\/$/, "")
  const credentials = at < 0 ? undefined : parseCredentials(beforeQuery.slice(0, at))
  if (credentials === null) return Result.fail("user and password must be written as user:password@, percent-encoded")
  if (!hosts.split(",").every(isHost)) {
    return Result.fail(
      "a host must be written as name or name:port, with a port from 1 to 65535; separate several with commas"
    )
  }

  const options = new Map<string, string>()
  for (const pair of question < 0 ? [] : rest.slice(question + 1).split("&")) {
    if (pair === "") continue
    const [name = "", ...values] = pair.split("=")
    const key = optionOf(name)
    const option = key === undefined ? undefined : OPTIONS[key]
    if (key === undefined || option === undefined) {
      return Result.fail(
        `unknown option in the connection string; the known ones are ${Object.keys(OPTIONS).join(", ")}`
      )
    }
    // "?tls" alone means true
    const value = values.join("=") || (key === "tls" ? "true" : "")
    if (value === "") return Result.fail(`the option ${key} of the connection string has no value`)
    if (!option.is(value)) return Result.fail(`the option ${key} of the connection string must be ${option.form}`)
    // the client would take an "@" for the end of user and password
    options.set(key, option.is === isBoolean ? value.toLowerCase() : value.replaceAll("@", "%40"))
  }
  const preference = options.get("nodePreference")
  // the spelling that both parsers of the client understand
  if (preference?.toLowerCase() === "read_only_replica") options.set("nodePreference", "readOnlyReplica")
  if (isBare && !options.has("tls")) options.set("tls", "false")
  if (overrides.rootCertificate !== undefined) {
    options.set("tlsCAFile", encodeURIComponent(overrides.rootCertificate))
  }
  const isSingleNode = scheme?.[1] === undefined && !hosts.includes(",")
  // with a single node, the first read would wait this long for nothing
  if (isSingleNode && !options.has("discoveryInterval")) options.set("discoveryInterval", "1")
  // have failures thrown: what the client returns instead is not always right
  options.set("throwOnAppendFailure", "true")

  const username = overrides.username ?? credentials?.username
  const password = overrides.password ?? credentials?.password
  if ((username === undefined) !== (password === undefined)) {
    return Result.fail(`only a ${username === undefined ? "password" : "user name"} was given; give both, or neither`)
  }
  for (const [name, given] of Object.entries({ "user name": username, password })) {
    if (given === "") return Result.fail(`the ${name} is empty`)
  }
  const known = username === undefined || password === undefined ? undefined : { username, password }
  const login = known === undefined ? "" : `${encode(known.username)}:${encode(known.password)}@`
  const deadline = options.get("defaultDeadline")
  const query = [...options].map(([key, value]) => `${key}=${value}`).join("&")
  return Result.succeed({
    text: `kurrentdb${scheme?.[1]?.toLowerCase() ?? ""}://${login}${hosts}?${query}`,
    isSingleNode,
    tls: options.get("tls") !== "false",
    deadline: deadline === undefined ? undefined : Number(deadline),
    credentials: known
  })
}

/** The client's default pause before keep-alive, in milliseconds. */
const KEEP_ALIVE = 10_000

/** "Never", as a pause that timers accept. */
const NEVER = 2_000_000_000

/**
 * The connection string for a client with a connection of its own. All clients of a process that use one address with
 * the same settings share a connection, which carries a hundred calls; a pause before keep-alive that differs by
 * milliseconds is another setting.
 */
export const withOwnChannel = (text: string, n: number): string => {
  const [, given] = /[?&]keepAliveInterval=(-?\d+)/.exec(text) ?? []
  const interval = given === undefined ? KEEP_ALIVE : Number(given) < 0 ? NEVER : Number(given)
  const rest = text.replace(/([?&])keepAliveInterval=-?\d+&?/, "$1").replace(/[?&]$/, "")
  return `${rest}${rest.includes("?") ? "&" : "?"}keepAliveInterval=${interval + n}`
}

const optionOf = (name: string): string | undefined =>
  OTHER_NAMES[name.toLowerCase()] ?? Object.keys(OPTIONS).find((option) => option.toLowerCase() === name.toLowerCase())

/** `null` if the text is not of the form. */
const parseCredentials = (text: string): Parsed["credentials"] | null => {
  const colon = text.indexOf(":")
  if (colon < 1) return null
  try {
    return {
      username: decodeURIComponent(text.slice(0, colon)),
      password: decodeURIComponent(text.slice(colon + 1))
    }
  } catch {
    return null
  }
}

/** Encodes also what `encodeURIComponent` leaves and the client's pattern of a connection string does not allow. */
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)

const isHost = (host: string): boolean => {
  const [, name, port] = /^([A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(host) ?? []
  return name !== undefined && (port === undefined || (Number(port) >= 1 && Number(port) <= 65535))
}
