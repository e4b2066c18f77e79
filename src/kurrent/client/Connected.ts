import { Context, Layer } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { KurrentError } from "../connection/KurrentError.ts"
import type { ConnectionOptions } from "./connect.ts"
import { connect } from "./connect.ts"

/** A connection to a server, which all that is on it can share. */
export class Connected extends Context.Service<Connected, Connection>()("effect-eventsourcing/kurrent/Connected") {}

/** Connects when it is built, and closes the connection with its scope. */
export const layerConnected = (options: ConnectionOptions): Layer.Layer<Connected, KurrentError> =>
  Layer.effect(Connected, connect(options))
