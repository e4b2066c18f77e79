/** Event sourcing on a KurrentDB server, by its official client. */
export type { ConnectionOptions } from "./connect.ts"
export type { KurrentOptions, KurrentServices, LogOptions } from "./KurrentLayer.ts"
export { KurrentLayer } from "./KurrentLayer.ts"
export type { Options as RecorderOptions, Services } from "./KurrentRecorder.ts"
export { layer as layerRecorders, layerMultiStream } from "./KurrentRecorder.ts"
