import { spawnSync } from "node:child_process"
import { assert, it } from "@effect/vitest"

it("a process that could start a server ends with the given exit code", () => {
  const server = JSON.stringify(`${import.meta.dirname}/postgresServer.ts`)
  const run = (code: number) =>
    spawnSync(process.execPath, [
      "--input-type=module",
      "--eval",
      `await import(${server}); process.exitCode = ${code}`
    ])
  assert.deepStrictEqual(
    [0, 1, 3].map((code) => run(code).status),
    [0, 1, 3]
  )
})
