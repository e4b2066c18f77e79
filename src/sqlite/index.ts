/** The SQLite backend. */
export type { Options as FileOptions } from "./SqliteDatabase.ts"
export { layerSqlClient, SqliteLayer, type SqliteOptions, type SqliteServices } from "./SqliteLayer.ts"
export { layer as layerRecorders, type Options as RecorderOptions, type Services } from "./SqliteRecorder.ts"
export { SqliteViews } from "./SqliteViews.ts"
