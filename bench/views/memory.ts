import { Context, Effect, Layer } from "effect"
import { ProjectionRunner, Recorder, ViewStore } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { memoryProjections } from "./counting.ts"
import type { MakeLoop, Place } from "./Site.ts"
import { PAGE } from "./Site.ts"
import { skuOf } from "./sql.ts"
import { cleaner, keyOf, noted } from "./store.ts"

const layer = Layer.merge(MemoryLayer(), MemoryViews())

/** Log and views in this process. */
export const memory: Place = {
  name: "memory",
  singly: 390 * PAGE,
  awaited: 3000,
  newSite: Effect.gen(function* () {
    const services = yield* Layer.build(layer)
    const store = Context.get(services, ViewStore.MemoryViewStore)
    const recorder = Context.get(services, Recorder.Recorder)
    return {
      services,
      run: (way, version, commits) =>
        Effect.asVoid(ProjectionRunner.make(memoryProjections[way](version))).pipe(
          Effect.provideService(ViewStore.MemoryViewStore, noted(store, commits)),
          Effect.provide(services)
        ),
      counted: (way, version) =>
        store.read(keyOf(way, version), ({ get }) => Effect.map(get, (count) => count as number)),
      clean: cleaner(store),
      loop: pages(recorder)
    }
  })
}

/** The loop reads the recorder's pages, parses them, and has a number of its own. */
const pages =
  (recorder: Recorder.Recorder["Service"]): MakeLoop =>
  (way, after) =>
    Effect.sync(() => {
      let position = BigInt(after)
      let count = 0
      const step = Effect.gen(function* () {
        const page = yield* recorder.readAll({ after: position as never, limit: PAGE })
        const last = page[page.length - 1]
        if (last === undefined) return 0
        const skus = page.flatMap(({ metadata, payload, type }) => skuOf(type, payload, metadata) ?? [])
        if (way === "batched") count += skus.length
        else for (const _ of skus) count += 1
        position = last.position
        return page.length
      })
      return { step, position: () => Number(position), counted: Effect.sync(() => count) }
    })
