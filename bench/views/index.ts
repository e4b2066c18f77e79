import { catchUp } from "./catchUp.ts"
import { inline } from "./inline.ts"
import { liveLatency } from "./liveLatency.ts"
import type { ViewScenario } from "./Scenario.ts"

export const viewScenarios: ReadonlyArray<ViewScenario> = [catchUp, liveLatency, inline]
