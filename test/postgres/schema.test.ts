import { expect, it } from "@effect/vitest"
import { schemaSql } from "effect-eventsourcing/postgres"

// the schema of a new database, to review changes of it: `npx vitest run test/postgres/schema --update` writes it
it("the whole schema is as in the committed file", () =>
  expect(`${schemaSql("public")}\n`).toMatchFileSnapshot("./support/schema-public.sql"))
