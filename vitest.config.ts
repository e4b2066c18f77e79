import * as path from "node:path"
import { defineConfig } from "vitest/config"
import type { TestSpecification } from "vitest/node"
import { BaseSequencer } from "vitest/node"

// The condition under which package.json exports the sources instead of dist.
const conditions = ["effect-eventsourcing-source"]

// Half of what it costs to start a process goes into compiling: each of the many, of workers and of tests, compiles anew.
process.env.NODE_COMPILE_CACHE ??= path.join(import.meta.dirname, "node_modules/.cache/node-compile-cache")

/** The files that take longest, longest first: begun last, one of them would run alone while the other cores wait. */
const longest = [
  "kurrent/contract.test.ts",
  "projection/crash.test.ts",
  "kurrent/log/following.test.ts",
  "examples/git-history.test.ts",
  "docs/codeBlocks.test.ts",
  "kurrent/log/faults.test.ts",
  "postgres/contract.test.ts",
  "kurrent/contractMultiStream.test.ts",
  "examples/school-counts.test.ts",
  "postgres/processes.test.ts",
  "postgres/crash.test.ts",
  "sqlite/crash.test.ts",
  "postgres/serverCrash.test.ts",
  "sqlite/contract.test.ts",
  "postgres/positionLock.test.ts",
  "sqlite/processes.test.ts",
  "kurrent/log/sparse.test.ts",
  "kurrent/log/crash.test.ts",
  "postgres/plans.test.ts",
  "projection/deployment.test.ts"
]

const rank = ({ moduleId }: TestSpecification): number => {
  const place = longest.findIndex((file) => moduleId.endsWith(`/test/${file}`))
  return place === -1 ? longest.length : place
}

class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    globalSetup: ["test/support/postgresSetup.ts", "test/support/kurrentSetup.ts"],
    pool: "forks",
    // much of a test is waiting for a disk or a server: a core that Vitest would leave free has work
    maxWorkers: "100%",
    sequence: { sequencer: LongestFirst },
    // For the processes that tests fork.
    execArgv: conditions.map((condition) => `--conditions=${condition}`),
    globals: false,
    // for what hangs: no test is to fail because a machine or a disk is slow
    testTimeout: 120_000,
    hookTimeout: 120_000
  }
})
