/** The PostgreSQL backend. */
export {
  type LogOptions,
  PostgresLayer,
  type PostgresOptions,
  type PostgresServices
} from "./PostgresLayer.ts"
export type { ConnectionOptions, RecorderOptions, ViewsOptions } from "./PostgresOptions.ts"
export { layer as layerRecorders, type Services } from "./PostgresRecorder.ts"
export { PostgresViews } from "./PostgresViews.ts"
export { SCHEMA_VERSION, schemaSql } from "./schema.ts"
