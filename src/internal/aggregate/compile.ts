/** Compiles an aggregate's definition: its events by name and by stored type, and how they are applied. */
import type * as Aggregate from "../../Aggregate.ts"
import * as DomainEvent from "../../DomainEvent.ts"
import * as Evolution from "../../Evolution.ts"
import { isType } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import { textProblem } from "../encoding/textProblem.ts"
import type { Compiled, CompiledEvent } from "./compiled.ts"

/** The name that an id is derived from may be longer than a stream's name, since the id contains only its hash. */
export const checkKey = (name: string, key: string): string => {
  const found = textProblem(key)
  if (found !== undefined) throw new Error(`invalid name for an id of ${name}: it ${found}`)
  return key
}

const UUID_EXAMPLE = "00000000-0000-0000-0000-000000000000"

export const checkName = (name: string): void => {
  const found = name.includes("-")
    ? 'contains "-", which separates it from the id in stream names'
    : StreamName.problem(name)
  if (found !== undefined) throw new Error(`invalid aggregate name "${name}": it ${found}`)
  if (StreamName.problem(`${name}-${UUID_EXAMPLE}`) !== undefined) {
    throw new Error(
      `invalid aggregate name "${name}": it leaves no room for an id in a stream name of at most ${StreamName.MAX_BYTES} bytes`
    )
  }
}

/** The required parts of a definition, and what to write if one is missing. */
const PARTS = {
  state: "the schema of the state, or its fields",
  creation: "the events that create an aggregate, such as { Registered: { name: Schema.String } }",
  events: "the events that change an existing aggregate; {} if there are none",
  reduce: "a function for each event, which returns the state after it"
}

/** Compiles a definition. Throws on one that can't be used. */
export const compile = (
  name: string,
  definition: {
    readonly state: Aggregate.StateSource
    readonly creation: Aggregate.Declarations
    readonly events: Aggregate.Declarations
    readonly reduce: object
  }
): Compiled => {
  for (const part of ["state", "creation", "events", "reduce"] as const) {
    if (definition[part] === undefined) throw new Error(`${name}: "${part}" is missing: ${PARTS[part]}`)
  }
  const byTag = new Map<string, CompiledEvent>()
  const byType = new Map<string, CompiledEvent>()
  const declare = (tag: string, declaration: DomainEvent.Declaration, creates: boolean) => {
    const { type = `${name}.${tag}`, aliases, evolution } = DomainEvent.fromDeclaration(declaration)
    if (!isType(type)) {
      throw new Error(
        `${name}.${tag}: "${type}" is not a valid event type, which has only letters, digits, "_", ".", ":" and "-"; give the event another with DomainEvent.make({ type })`
      )
    }
    if (byTag.has(tag)) throw new Error(`${name}.${tag} is declared twice`)
    const construct = DomainEvent.constructorOf(`${name}.${tag}`, tag, evolution)
    const event = { tag, type, creates, codec: DomainEvent.compile(tag, evolution), construct }
    byTag.set(tag, event)
    for (const stored of new Set([type, ...aliases])) {
      const other = byType.get(stored)
      if (other !== undefined) throw new Error(`${name}: the type "${stored}" is given to both ${other.tag} and ${tag}`)
      byType.set(stored, event)
    }
  }
  for (const [tag, declaration] of Object.entries(definition.creation)) declare(tag, declaration, true)
  for (const [tag, declaration] of Object.entries(definition.events)) declare(tag, declaration, false)

  const reducers = new Map(Object.entries(definition.reduce)) as ReadonlyMap<
    string,
    (first: unknown, second?: unknown) => unknown
  >
  for (const tag of byTag.keys()) {
    if (!reducers.has(tag)) throw new Error(`${name}.${tag} has no reducer`)
  }
  for (const tag of reducers.keys()) {
    if (!byTag.has(tag)) throw new Error(`${name} has a reducer for "${tag}", which is not one of its events`)
  }
  const { state } = definition
  const versions = Evolution.isEvolution(state) ? state : Evolution.version(1, state as Evolution.Source)
  if (Evolution.accepts(versions, undefined)) {
    throw new Error(`${name}: a state can't be undefined, which stands for an aggregate that does not exist`)
  }
  return {
    byTag,
    byType,
    state: Evolution.compile(versions),
    copyState: Evolution.copier(versions),
    apply: (state, event) => {
      const declared = byTag.get(event._tag)
      const reduce = reducers.get(event._tag)
      if (declared === undefined || reduce === undefined) throw new Error(`${name} has no event "${event._tag}"`)
      if (declared.creates) {
        if (state !== undefined) throw new Error(`${name}.${event._tag} creates the aggregate, but it already exists`)
        return reduce(event)
      }
      if (state === undefined) throw new Error(`${name}.${event._tag} changes the aggregate, but it does not exist yet`)
      return reduce(state, event)
    }
  }
}
