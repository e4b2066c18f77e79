/** A log with a place for views of it, and who keeps them up: the library's runner, and loops that do without it. */
import type { Context, Effect, Scope } from "effect"
import type { EventSourcing, Recorder, Repository } from "effect-eventsourcing"
import type { Item } from "../order.ts"
import type { Commits } from "./commits.ts"

/** How the view is written: with a handler for each event, or with one for all of a batch. */
export type Way = "singly" | "batched"

/** Events in a page, and so in a transaction, of the runner and of each loop. */
export const PAGE = 512

/** What a program without the library would do to keep a view, which is empty where the loop begins. */
export interface Loop {
  /**
   * Reads the page behind where it is and parses it, moves its position and writes the view in one transaction; answers how
   * many events there were.
   */
  readonly step: Effect.Effect<number, unknown>
  /** How far it has come. */
  readonly position: () => number
  /** How many events its view has counted. */
  readonly counted: Effect.Effect<number, unknown>
}

/** Makes a loop that begins behind a position. */
export type MakeLoop = (way: Way, after: number) => Effect.Effect<Loop, unknown, Scope.Scope>

export interface Site {
  readonly services: Context.Context<EventSourcing.EventSourcing | Recorder.Recorder>
  /** Starts the library's runner for a version of the view, which is made anew if it isn't there. */
  readonly run: (way: Way, version: number, commits: Commits) => Effect.Effect<void, unknown, Scope.Scope>
  /** How many events a version has counted. */
  readonly counted: (way: Way, version: number) => Effect.Effect<number, unknown>
  /** Removes all versions that are not read. */
  readonly clean: (way: Way) => Effect.Effect<void, unknown>
  /** The loop with the client that handlers get, which is effect's `SqlClient` but in memory. */
  readonly loop: MakeLoop
  /** The loop with the bare driver, where there is one. */
  readonly driver?: MakeLoop
}

/** Two logs alike, one of them with the view maintained inline. */
export interface InlineSite {
  readonly kept: Context.Context<Repository.Repository>
  readonly without: Context.Context<Repository.Repository>
  /** Records an event in the log without, and its count in a table beside it: in one transaction of the driver's. */
  readonly record: (stream: string, version: number, item: Item) => Effect.Effect<unknown, unknown>
}

/** Where the view scenarios run. */
export interface Place {
  readonly name: string
  /** A site with an empty log, removed with its scope. */
  readonly newSite: Effect.Effect<Site, unknown, Scope.Scope>
  /** The same, with a view that is maintained inline, where that is possible. */
  readonly newInlineSite?: Effect.Effect<InlineSite, unknown, Scope.Scope>
  /** How many events a round has that are handled one by one: each is a statement, and where there is a server, a round trip. */
  readonly singly: number
  /** How many events are awaited one by one in a round, each of them an append and a transaction of the view's. */
  readonly awaited: number
}
