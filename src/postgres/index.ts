/** The PostgreSQL backend. */
export type { ConnectionOptions } from "./connect.ts"
export {
  type LogOptions,
  PostgresLayer,
  type PostgresOptions,
  type PostgresServices
} from "./PostgresLayer.ts"
export { layer as layerRecorders, type Options as RecorderOptions, type Services } from "./PostgresRecorder.ts"
export { PostgresViews, type ViewsOptions } from "./PostgresViews.ts"
export { SCHEMA_VERSION, schemaSql } from "./schema.ts"
