/** One PostgreSQL server for all tests, unless `POSTGRES_URL` names one. */
import { startServer } from "./postgresServer.ts"

const setup = async (): Promise<(() => Promise<void>) | undefined> => {
  if (process.env.POSTGRES_URL !== undefined) return undefined
  const server = await startServer({ max_connections: 300 })
  process.env.POSTGRES_URL = server.url
  return server.stop
}

export default setup
