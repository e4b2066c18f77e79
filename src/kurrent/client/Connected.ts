import { Context, Layer } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { KurrentError } from "../connection/KurrentError.ts"
import type { ConnectionOptions } from "./ConnectionOptions.ts"
import { connect } from "./connect.ts"

/** A connection to a server, shared by everything that uses the server. */
export class Connected extends Context.Service<Connected, Connection>()("effect-eventsourcing/kurrent/Connected") {}

/** Connects when the layer is built, and closes the connection with the scope. */
export const layerConnected = (options: ConnectionOptions): Layer.Layer<Connected, KurrentError> =>
  Layer.effect(Connected, connect(options))
