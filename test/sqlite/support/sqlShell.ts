/** A program that has a SQLite file open like any other: runs the SQL that it is sent, for instance to hold locks. */
import { DatabaseSync } from "node:sqlite"
import { Effect } from "effect"
import * as Protocol from "../../support/remoteCalls.ts"

const db = new DatabaseSync(process.argv[2] as string)

export const commands = {
  exec: (sql: string) => Effect.try({ try: () => db.exec(sql), catch: (cause) => cause as Error }),
  /** Ends without closing anything. */
  exit: (code: number) => Effect.sync((): void => process.exit(code))
} satisfies Protocol.Commands

Protocol.serve(commands)
