/**
 * A place in the total order of a recorder.
 *
 * Positions are opaque: unique and strictly increasing (G3), not dense, and different on every backend. Reads start
 * after a position; never compute one. On SQLite a position is a row's key, on KurrentDB a commit position.
 */
import { Schema } from "effect"

/** A recorded event's place in the total order: unique, strictly increasing, not necessarily dense. */
export const Position = Schema.BigInt.check(Schema.isGreaterThanOrEqualToBigInt(0n)).pipe(Schema.brand("Position"))

/** A recorded event's place in the total order. */
export type Position = typeof Position.Type

/** Brands a bigint from a recorder's storage. For authors of backends; it costs nothing and checks nothing. */
export const fromStorage = (value: bigint): Position => value as Position
