/** The view of some dogs, in a SQLite database in memory: the same handlers and tables as on any database. */
import { it } from "@effect/vitest"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { givenAll, stream } from "effect-eventsourcing/testing"
import { Dog } from "../training-school/Dog.ts"
import { Counts } from "./Counts.ts"

const [fido, rex] = [Dog.id("Fido"), Dog.id("Rex")]

it("counts dogs and tricks", () =>
  givenAll(
    stream(Dog, fido, Dog.Registered({ name: "Fido" }), Dog.TrickAdded({ trick: "roll over" })),
    stream(Dog, rex, Dog.Registered({ name: "Rex" })),
    stream(Dog, fido, Dog.TrickAdded({ trick: "play dead" }))
  )
    .project(Counts, SqliteViews({ filename: ":memory:" }))
    .thenRows(({ sql, table }) => sql`SELECT dogs, tricks FROM ${table("totals")}`, [{ dogs: 2, tricks: 2 }]))
