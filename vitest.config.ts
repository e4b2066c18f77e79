import { defineConfig } from "vitest/config"

// The condition under which package.json exports the sources instead of dist.
const conditions = ["effect-eventsourcing-source"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/postgres-setup.ts", "test/support/kurrent-setup.ts"],
    pool: "forks",
    // much of a test is waiting for a disk or a server: a core that Vitest would leave free has work
    maxWorkers: "100%",
    // For the processes that tests fork.
    execArgv: conditions.map((condition) => `--conditions=${condition}`),
    globals: false,
    // for what hangs: no test is to fail because a machine or a disk is slow
    testTimeout: 120_000,
    hookTimeout: 120_000
  }
})
