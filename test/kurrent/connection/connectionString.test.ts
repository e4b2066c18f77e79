/**
 * Connection strings that people write, how the client reads those that the library writes, and what is never quoted.
 */
import { assert, describe, it } from "@effect/vitest"
import { parseConnectionString } from "@kurrent/kurrentdb-client/dist/Client/parseConnectionString.js"
import { Result } from "effect"
import type { Overrides, Parsed } from "../../../src/kurrent/connection/connectionString.ts"
import { parse, withOwnChannel } from "../../../src/kurrent/connection/connectionString.ts"
import { random } from "../../support/random.ts"

const parsed = (text: string, overrides?: Overrides): Parsed => {
  const result = parse(text, overrides)
  if (Result.isFailure(result)) throw new Error(`refused ${text}: ${result.failure}`)
  return result.success
}

const refusal = (text: string, overrides?: Overrides): string => {
  const result = parse(text, overrides)
  if (Result.isSuccess(result)) throw new Error(`took ${text} as ${result.success.text}`)
  return result.failure
}

/** What the client reads from the string that is written for it. */
const atClient = (text: string, overrides?: Overrides) => parseConnectionString(parsed(text, overrides).text)

const SECRET = "hunter2"

/** Characters with a meaning in an address, and some with a meaning elsewhere. */
const SPECIAL = [..."@:/?#[]%&=+,;!'()*$~<>{}|\"\\^` .-_aZ09äß漢🐶\u0000\n\t"]

const makeText = (next: () => number, longest: number) =>
  Array.from(
    { length: 1 + Math.floor(next() * longest) },
    () => SPECIAL[Math.floor(next() * SPECIAL.length)] ?? ""
  ).join("")

describe("the forms of a connection string", () => {
  it("are those of the client, each with +discover or not", () => {
    for (const scheme of ["kurrentdb", "kurrent", "kdb", "esdb", "KurrentDB", "ESDB"]) {
      const single = parsed(`${scheme}://db.example:2114?tls=false`)
      assert.isTrue(single.isSingleNode)
      assert.isFalse(single.tls)
      // the client warns of its old name, and of nothing else
      assert.match(single.text, /^kurrentdb:\/\//)
      const cluster = parsed(`${scheme}+discover://db.example`)
      assert.isFalse(cluster.isSingleNode)
      assert.isTrue(cluster.tls)
      assert.deepInclude(atClient(`${scheme}+discover://db.example`), {
        dnsDiscover: true,
        hosts: [{ address: "db.example", port: 2113 }]
      })
    }
  })

  it("also a bare host and port, which is a node without TLS by default", () => {
    assert.deepInclude(parsed("localhost:2113"), { isSingleNode: true, tls: false, credentials: undefined })
    assert.deepInclude(parsed("localhost"), { isSingleNode: true, tls: false })
    assert.isTrue(parsed("localhost:2113?tls").tls)
    assert.isTrue(parsed("localhost:2113?tls=true").tls)
    assert.deepStrictEqual(parsed("ada:pw@localhost:2113").credentials, { username: "ada", password: "pw" })
  })

  it("options have any case, tls needs no value, and rootCertificate is another name of tlsCAFile", () => {
    assert.isTrue(parsed("kurrentdb://a?tls").tls)
    assert.isTrue(parsed("kurrentdb://a?TLS=TRUE").tls)
    assert.isFalse(parsed("kurrentdb://a?Tls=False").tls)
    assert.deepInclude(atClient("kurrentdb://a?ROOTCERTIFICATE=%2Ftmp%2Fca.pem"), { tlsCAFile: "/tmp/ca.pem" })
    assert.deepInclude(atClient("kurrentdb://a?rootCertificate=/tmp/ca.pem"), { tlsCAFile: "/tmp/ca.pem" })
    assert.deepInclude(atClient("kurrentdb://a?nodepreference=read_only_replica"), {
      nodePreference: "read_only_replica"
    })
    assert.include(parsed("kurrentdb://a?nodePreference=READ_ONLY_REPLICA").text, "nodePreference=readOnlyReplica")
  })

  it("hosts of a cluster are separated by commas; empty options and a slash after the hosts do not matter", () => {
    assert.isFalse(parsed("kurrentdb://a:1,b:2,c").isSingleNode)
    assert.deepInclude(atClient("kurrentdb://ada:pw@a:1,b:2,c/?&tls=false&"), {
      hosts: [
        { address: "a", port: 1 },
        { address: "b", port: 2 },
        { address: "c", port: 2113 }
      ],
      tls: false,
      defaultCredentials: { username: "ada", password: "pw" }
    })
    assert.isTrue(parsed("  kurrentdb://a/  ").isSingleNode)
  })

  it("with one node the first read does not wait, unless the string says otherwise; failures are always thrown", () => {
    assert.deepInclude(atClient("kurrentdb://a"), { discoveryInterval: 1, throwOnAppendFailure: true })
    assert.deepInclude(atClient("kurrentdb://a?discoveryinterval=7"), { discoveryInterval: 7 })
    assert.notProperty(atClient("kurrentdb+discover://a"), "discoveryInterval")
    assert.deepInclude(atClient("kurrentdb://a?throwOnAppendFailure=false"), { throwOnAppendFailure: true })
  })

  it("values that are passed separately take precedence over the string", () => {
    const text = "kurrentdb://ada:pw@a?tlsCAFile=/tmp/old.pem"
    const overrides = { username: "bob", password: "p@s:s", rootCertificate: "/tmp/a b/ca&new=.pem" }
    assert.deepStrictEqual(parsed(text, overrides).credentials, { username: "bob", password: "p@s:s" })
    assert.deepInclude(atClient(text, overrides), {
      tlsCAFile: "/tmp/a b/ca&new=.pem",
      defaultCredentials: { username: "bob", password: "p@s:s" }
    })
    assert.deepStrictEqual(parsed(text, { password: "new" }).credentials, { username: "ada", password: "new" })
  })
})

describe("an invalid connection string", () => {
  it.each([
    ["", /empty/],
    ["   ", /empty/],
    ["http://localhost:2113", /scheme/],
    ["postgres://ada:pw@localhost", /scheme/],
    ["kurrentdb://", /host/],
    ["kurrentdb://?tls=false", /host/],
    ["kurrentdb://a,,b", /host/],
    ["kurrentdb://a:0", /host/],
    ["kurrentdb://a:65536", /host/],
    ["kurrentdb://a:port", /host/],
    ["kurrentdb://a:1:2", /host/],
    ["kurrentdb://a b", /host/],
    ["kurrentdb://a/path", /host/],
    ["kurrentdb://a?tsl=false", /option/],
    ["kurrentdb://a?maxDiscoverAttempts=", /option.*no value/],
    ["kurrentdb://ada@a", /user:password/],
    ["kurrentdb://:pw@a", /user:password/],
    ["kurrentdb://ada:%zz@a", /percent-encoded/],
    ["kurrentdb://ada:%ff@a", /percent-encoded/]
  ])("%s is refused, with the reason", (text, reason) => {
    assert.match(refusal(text), reason)
  })

  it("a user name or a password alone is refused", () => {
    assert.match(refusal("kurrentdb://a", { username: "ada" }), /only a user name was given/)
    assert.match(refusal("kurrentdb://a", { password: SECRET }), /only a password was given/)
  })

  it.each(["ada:@a", "ada:pw@a"])("an empty user or password is refused, and not taken for a host: %s", (rest) => {
    assert.match(refusal(`kurrentdb://${rest}`, { username: "" }), /user/)
    assert.match(refusal(`kurrentdb://${rest}`, { password: "" }), /password/)
  })

  it("text that can't be encoded as UTF-8 is refused, and nothing is thrown", () => {
    refusal("kurrentdb://a", { username: "ada", password: "\ud800" })
    refusal("kurrentdb://a", { username: "\udc00", password: "pw" })
    refusal("kurrentdb://a", { rootCertificate: "/tmp/\ud800" })
  })
})

describe("a password", () => {
  it("is never quoted, wherever it is in a refused string", () => {
    const refused = [
      `kurrentdb://ada:${SECRET}`,
      `kurrentdb://ada:${SECRET}/`,
      `ada:${SECRET}`,
      `kurrentdb://ada:${SECRET}?x@localhost:2113`,
      `kurrentdb://ada:12?${SECRET}@localhost:2113`,
      `kurrentdb://ada:12?a=b&${SECRET}&x@localhost:2113`,
      `kurrentdb://ada:?${SECRET}=@localhost:2113`,
      `kurrentdb://localhost:2113,ada:${SECRET}`,
      `kurrentdb://ada:${SECRET}%zz@localhost`,
      `kurrentdb://ada:pw@${SECRET}@local host`,
      `kurrentdb://ada:pw@local/${SECRET}@`,
      `http://ada:${SECRET}@localhost`,
      `kurrentdb:/ada:${SECRET}`,
      `kurrentdb//ada:${SECRET}:2113`
    ]
    for (const text of refused) {
      const result = parse(text)
      if (Result.isFailure(result)) assert.notInclude(result.failure, SECRET, text)
    }
    assert.notInclude(refusal("kurrentdb://a b", { username: "ada", password: SECRET }), SECRET)
  })

  it("is never quoted, with any characters around it", () => {
    const next = random(11)
    for (let round = 0; round < 20_000; round++) {
      const [before, behind, host] = [makeText(next, 4), makeText(next, 4), makeText(next, 3)]
      const text = `kurrentdb://ada:${before}${SECRET}${behind}@${next() < 0.5 ? "localhost:2113" : host}?tls=false`
      const result = parse(text)
      if (Result.isFailure(result)) assert.notInclude(result.failure, SECRET, JSON.stringify(text))
    }
  })

  it("of any characters reaches the client unchanged, percent-encoded or passed separately, and so does the user", () => {
    const next = random(12)
    for (let round = 0; round < 5000; round++) {
      const [username, password] = [makeText(next, 8), makeText(next, 8)]
      const credentials = { username, password }
      const encoded = `kurrentdb://${encodeURIComponent(username)}:${encodeURIComponent(password)}@a:1?tls=false`
      for (const [text, overrides] of [[encoded, {}] as const, ["kurrentdb://a:1?tls=false", credentials] as const]) {
        assert.deepStrictEqual(parsed(text, overrides).credentials, credentials)
        assert.deepInclude(atClient(text, overrides), {
          defaultCredentials: credentials,
          hosts: [{ address: "a", port: 1 }],
          tls: false
        })
      }
    }
  })
})

describe("an accepted string", () => {
  it("is read by the client as intended, whatever it contains", () => {
    const next = random(13)
    const pick = <A>(...of: ReadonlyArray<A>) => of[Math.floor(next() * of.length)] as A
    const numbers = ["maxDiscoverAttempts", "gossipTimeout", "defaultDeadline", "keepAliveInterval"]
    const texts = ["connectionName", "tlsCAFile", "userCertFile", "userKeyFile"]
    const anyCase = (name: string) => pick(name, name.toLowerCase(), name.toUpperCase())
    for (let round = 0; round < 3000; round++) {
      const wanted: Record<string, unknown> = {}
      const options: Array<string> = []
      for (const name of numbers.filter(() => next() < 0.4)) {
        const value = Math.floor(next() * 20_000)
        wanted[name] = value
        options.push(`${anyCase(name)}=${value}`)
      }
      for (const name of texts.filter(() => next() < 0.4)) {
        const value = makeText(next, 6)
        wanted[name] = value
        options.push(`${anyCase(name)}=${encodeURIComponent(value)}`)
      }
      const hosts = Array.from({ length: 1 + Math.floor(next() * 3) }, (_, n) => ({
        address: pick("localhost", "127.0.0.1", "db-1.example.org", `node_${n}`),
        port: 1 + Math.floor(next() * 65_535)
      }))
      const login = next() < 0.5 ? "" : "ada:pw@"
      const text = `${pick("kurrentdb", "esdb", "kdb+discover")}://${login}${hosts.map(({ address, port }) => `${address}:${port}`).join(",")}${pick("", "/")}?${options.join("&")}`
      assert.deepInclude(atClient(text), { ...wanted, hosts }, JSON.stringify(text))
    }
  })

  it("an @ in an option's value does not end user and password", () => {
    for (const text of ["kurrentdb://a:1?connectionName=ada@work", "kurrentdb://a:1?tlsCAFile=/tmp/x@y/ca.pem"]) {
      assert.deepInclude(atClient(text), { hosts: [{ address: "a", port: 1 }] })
      assert.notProperty(atClient(text), "defaultCredentials")
    }
  })

  it("any text is either refused or understood by the client: it never throws", () => {
    const next = random(14)
    for (let round = 0; round < 20_000; round++) {
      const scheme = next() < 0.7 ? "kurrentdb://" : ""
      const text = `${scheme}${next() < 0.5 ? "ada:pw@" : ""}${next() < 0.5 ? "localhost" : makeText(next, 10)}?${next() < 0.5 ? "connectionName=" : ""}${makeText(next, 10)}`
      const result = parse(text)
      if (Result.isSuccess(result)) {
        assert.doesNotThrow(() => parseConnectionString(result.success.text), undefined, JSON.stringify(text))
      }
    }
  })

  it.each([
    ["tls", "maybe"],
    ["tlsVerifyCert", "0"],
    ["nodePreference", "nearest"],
    ["maxDiscoverAttempts", "many"],
    ["discoveryInterval", "1s"],
    ["gossipTimeout", "x"],
    ["defaultDeadline", "soon"],
    ["keepAliveInterval", "never"],
    ["keepAliveTimeout", "1.5"]
  ])("an option with an invalid value is refused by name: %s=%s", (name, value) => {
    assert.include(refusal(`kurrentdb://a?${name}=${value}`), name)
  })
})

describe("a connection of its own", () => {
  it("has a pause before keep-alive of its own, and is otherwise the same", () => {
    for (const [options, pause] of [
      ["tls=false", 10_000],
      ["keepAliveInterval=20000&tls=false", 20_000],
      ["tls=false&KeepAliveInterval=15000&keepAliveTimeout=12000", 15_000],
      ["tls=false&keepAliveInterval=-1", 2_000_000_000]
    ] as const) {
      const { text } = parsed(`kurrentdb://ada:love%40ce@a:2113,b:2113?${options}`)
      const [one, other] = [
        parseConnectionString(withOwnChannel(text, 0)),
        parseConnectionString(withOwnChannel(text, 7))
      ]
      assert.strictEqual(one.keepAliveInterval, pause)
      assert.strictEqual(other.keepAliveInterval, pause + 7)
      const { keepAliveInterval: _, ...rest } = parseConnectionString(text)
      const { keepAliveInterval: __, ...same } = other
      assert.deepStrictEqual(same, rest)
    }
  })
})
