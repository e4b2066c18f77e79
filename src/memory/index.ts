/** The memory backend. */
export { MemoryLayer } from "./MemoryLayer.ts"
export { layer as layerRecorders, type Services } from "./MemoryRecorder.ts"
export { MemoryViews } from "./MemoryViews.ts"
