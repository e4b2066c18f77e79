/** What an editor shows of a name: the hover text of TypeScript's language server. */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"

const root = Path.resolve(import.meta.dirname, "../../..")

/**
 * The hover texts that a file requests: at each comment `//  ^? what`, that of the name that the caret points to in the
 * line above. Without documentation, on one line.
 */
export const hovers = async (file: string): Promise<Readonly<Record<string, string>>> => {
  const text = Fs.readFileSync(file, "utf8")
  const uri = pathToFileURL(file).href
  const compiler = Path.join(root, "node_modules", "typescript", "bin", "tsc")
  const server = spawn(process.execPath, [compiler, "--lsp", "--stdio"], {
    cwd: root,
    stdio: ["pipe", "pipe", "ignore"]
  })
  const ended = new Promise((resolve) => server.on("close", resolve))
  const { ask, tell } = connect(server.stdin, server.stdout)
  try {
    await ask("initialize", {
      processId: process.pid,
      rootUri: pathToFileURL(root).href,
      capabilities: { textDocument: { hover: { contentFormat: ["markdown"] } } }
    })
    tell("initialized", {})
    tell("textDocument/didOpen", { textDocument: { uri, languageId: "typescript", version: 1, text } })
    const found: Record<string, string> = {}
    for (const [line, content] of text.split("\n").entries()) {
      const name = /^\s*\/\/\s*\^\? (\w+)$/.exec(content)?.[1]
      if (name === undefined) continue
      const position = { line: line - 1, character: content.indexOf("^") }
      found[name] = signatureOf(await ask("textDocument/hover", { textDocument: { uri }, position }))
    }
    return found
  } finally {
    server.kill()
    await ended
  }
}

/** The first block of code of a hover text. */
const signatureOf = (answer: unknown): string => {
  const { contents } = answer as { readonly contents: { readonly value: string } }
  const block = /```\w*\n([\s\S]*?)\n```/.exec(contents.value)?.[1]
  if (block === undefined) throw new Error(`a hover text without code: ${JSON.stringify(answer)}`)
  return block.replaceAll(/\s+/g, " ")
}

/** A connection to a language server. Requests of the server to its client get `null`. */
const connect = (input: NodeJS.WritableStream, output: NodeJS.ReadableStream) => {
  const waiting = new Map<
    number,
    { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }
  >()
  let id = 0
  let rest = Buffer.alloc(0)
  const send = (message: object) => {
    const body = JSON.stringify({ jsonrpc: "2.0", ...message })
    input.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  }
  const receive = (message: {
    readonly id?: number
    readonly method?: string
    readonly result?: unknown
    readonly error?: { readonly message: string }
  }) => {
    if (message.id === undefined) return
    if (message.method !== undefined) return send({ id: message.id, result: null })
    if (message.error === undefined) waiting.get(message.id)?.resolve(message.result)
    else waiting.get(message.id)?.reject(new Error(message.error.message))
  }
  output.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    for (let head = rest.indexOf("\r\n\r\n"); head !== -1; head = rest.indexOf("\r\n\r\n")) {
      const length = Number(/Content-Length: (\d+)/i.exec(rest.subarray(0, head).toString())?.[1])
      const end = head + 4 + length
      if (rest.length < end) return
      const message = JSON.parse(rest.subarray(head + 4, end).toString())
      rest = rest.subarray(end)
      receive(message)
    }
  })
  output.on("end", () => {
    for (const { reject } of waiting.values()) reject(new Error("the language server has ended"))
  })
  return {
    tell: (method: string, params: object) => send({ method, params }),
    ask: (method: string, params: object) =>
      new Promise<unknown>((resolve, reject) => {
        waiting.set(++id, { resolve, reject })
        send({ id, method, params })
      })
  }
}
