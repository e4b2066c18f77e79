/** One KurrentDB protocol fake for all tests, unless `KURRENTDB_URI` names a server. */
import { spawnFake } from "./kurrent-fake.ts"

const setup = async (): Promise<(() => Promise<void>) | undefined> => {
  if (process.env.KURRENTDB_URI !== undefined) return undefined
  const { stop, uri } = await spawnFake()
  process.env.KURRENTDB_FAKE_URI = uri
  return stop
}

export default setup
