/** The backend, its connection, and how payloads are encoded, from the configuration. */
export type { BackendOptions, Capability, LogServices, ViewsBackendOptions } from "./backends.ts"
export { ConfigLayer, type ConfigOptions, type ConfigServices } from "./ConfigLayer.ts"
export { ConfigMapper, type EncryptionOptions, type MapperOptions } from "./ConfigMapper.ts"
export { ConfigViews, type ConfigViewsOptions } from "./ConfigViews.ts"
export type { BackendName } from "./variables.ts"
