import { Effect } from "effect"
import { MemoryLayer } from "effect-eventsourcing/memory"
import * as RawMemory from "../raw/memory.ts"
import type { Backend } from "./Backend.ts"

export const memory: Backend = {
  name: "memory",
  commit: 0,
  newLog: Effect.succeed({ layer: MemoryLayer, raw: RawMemory.copy })
}
