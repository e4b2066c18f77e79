import { append100 } from "./append.ts"
import { concurrent64, concurrent64Batched } from "./concurrent.ts"
import { readAll } from "./readAll.ts"
import { rehydrate10000 } from "./rehydrate.ts"
import type { Scenario } from "./Scenario.ts"
import { sequential } from "./sequential.ts"

export const scenarios: ReadonlyArray<Scenario> = [
  sequential,
  concurrent64,
  concurrent64Batched,
  append100,
  rehydrate10000,
  readAll
]
