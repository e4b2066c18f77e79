/** Everything that docs/observability.md lists arrives at an OTLP collector as it says. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Schedule, SubscriptionRef } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { Deadline, EventStore, Process, Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { makeExpiry, Payment } from "../deadline/support/payment.ts"
import { untilState } from "../projection/support/runnerStates.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { eventually } from "../support/eventually.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Metric, Span } from "./support/collector.ts"
import { collector, toObject } from "./support/collector.ts"
import { ownRegistry } from "./support/metrics.ts"
import { request } from "./support/spans.ts"

const fido = Dog.id("Fido")
const counter = Counter.id("one")

/** Handles every event except one, which it sets aside. */
const projection = Projection.make("dogs", {
  aggregates: [Dog],
  view: Projection.memory(() => 0),
  handlers: {
    Dog: {
      Registered: (_event, view) => view.update((n) => n + 1),
      TrickAdded: () => Effect.fail("no"),
      Rested: Projection.ignore
    }
  }
})

/** Counts how often dogs have rested. */
const process = Process.make("dogs", {
  follows: [Dog],
  begin: "start",
  handlers: {
    Dog: {
      Registered: Process.ignore,
      TrickAdded: Process.ignore,
      Rested: () => Process.execute(Counter, counter, increase)
    }
  }
})

/** Does what leaves each span and changes each metric. */
const program = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  const store = yield* EventStore.EventStore
  yield* request(dogs.execute(fido, Dog.Registered({ name: "Fido" })))
  yield* request(dogs.get(fido))
  // the cached state is stale, so the command conflicts once
  yield* request(store.append(Dog, fido, { expected: 0, events: [Dog.Rested(), Dog.Rested()] }))
  const { position } = yield* request(dogs.execute(fido, addTrick("sit")))
  yield* request(
    Repository.transaction(
      { dog: Repository.existing(Dog, fido), counter: Repository.missing(Counter, counter) },
      () => ({ dog: Dog.Rested(), counter: Counter.Started() })
    )
  )
  yield* request(dogs.get(fido, { version: 0 }))
  const runner = yield* ProjectionRunner.make(projection, { retry: Schedule.recurs(1), onFailure: "set-aside" })
  yield* untilProcessed(projection, position)
  yield* untilState(runner, "Live")
  yield* Process.start(process)
  yield* Process.wait(process, yield* store.head)
  // what the process knows of the counter is stale by now, so its batch conflicts once
  yield* request(store.append(Counter, counter, { expected: 3, events: [Counter.Increased({ to: 10 })] }))
  const rested = yield* request(store.append(Dog, fido, { expected: 4, events: [Dog.Rested()] }))
  yield* Process.wait(process, rested?.position)
})

/** Runs a deadline that decides on one payment, and fails on another. */
const deadlineProgram = Effect.gen(function* () {
  const payments = yield* Repository.of(Payment)
  const refused = Payment.id("refused")
  for (const id of [Payment.id("due"), refused]) yield* payments.execute(id, Payment.Requested({ dueAt: 1 }))
  yield* payments.execute(refused, Payment.Noted({ text: "refused" }))
  const runner = yield* Deadline.start(makeExpiry("memory"), { retry: Schedule.recurs(0) })
  const hasExpired = Effect.map(payments.get(Payment.id("due")), ({ state }) => state.status === "expired")
  yield* eventually("it has expired", hasExpired)
  const state = SubscriptionRef.get(runner.state)
  yield* eventually(
    "the other has failed",
    Effect.map(state, ({ _tag }) => _tag === "Failing")
  )
})

const isOfDeadline = ({ name }: { readonly name: string }) => name.startsWith("effect_eventsourcing_deadline_")

/** Runs a program with an exporter, and returns what a collector has received from it. */
const exportedOf = Effect.fnUntraced(function* (run: typeof program | typeof deadlineProgram) {
  const { baseUrl, spans, metrics } = yield* collector
  const exporter = Otlp.layerJson({ baseUrl, resource: { serviceName: "school" } }).pipe(
    Layer.provide(FetchHttpClient.layer)
  )
  const backend = Layer.mergeAll(MemoryLayer(), MemoryViews(), Logger.layer([]))
  yield* run.pipe(Effect.scoped, Effect.provide(Layer.provideMerge(backend, exporter)), ownRegistry)
  return { spans, metrics }
})

const exported = exportedOf(program)

/** The rows of the guide's tables whose first cell is a name in code, by that name. */
const documented = (heading: string) => {
  const text = Fs.readFileSync(Path.resolve(import.meta.dirname, "../../docs/observability.md"), "utf8")
  const section = text.split(/^## /m).find((part) => part.startsWith(heading))
  assert.isDefined(section)
  const rows = [...(section ?? "").matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)]
  assert.isNotEmpty(rows)
  return rows.map(([, name, rest]) => ({
    name: name ?? "",
    cells: (rest ?? "").split("|").map((cell) => cell.trim())
  }))
}

const codes = (cell: string | undefined) => [...(cell ?? "").matchAll(/`([^`]+)`/g)].map(([, code]) => code ?? "")

const valueOf = (metric: Metric | undefined) =>
  (metric?.sum ?? metric?.gauge)?.dataPoints.map(({ asDouble }) => asDouble)

describe("an OTLP collector", () => {
  it.live("receives every documented metric, with its kind, unit and attributes, and its value", () =>
    Effect.gen(function* () {
      const { metrics } = yield* exported
      const { metrics: ofDeadline } = yield* exportedOf(deadlineProgram)
      for (const { name, cells } of documented("Metrics")) {
        const metric = isOfDeadline({ name }) ? ofDeadline.get(name) : metrics.get(name)
        assert.isDefined(metric, name)
        const [kind, unit, attributes] = cells
        assert.strictEqual(metric?.sum?.isMonotonic === true ? "counter" : metric?.gauge ? "gauge" : "", kind, name)
        assert.strictEqual(metric?.unit, codes(unit)[0], name)
        for (const point of (metric?.sum ?? metric?.gauge)?.dataPoints ?? []) {
          assert.sameMembers(Object.keys(toObject(point.attributes)), ["unit", ...codes(attributes)], name)
        }
      }
      const found = [...metrics.values()].filter(({ name }) => name.startsWith("effect_eventsourcing_"))
      const foundOfDeadline = [...ofDeadline.values()].filter(isOfDeadline)
      assert.sameMembers(
        [...found, ...foundOfDeadline].map(({ name }) => name),
        documented("Metrics").map(({ name }) => name)
      )
      const left = (name: string) =>
        Array(found.find((metric) => metric.name.endsWith(name))!.gauge!.dataPoints.length - 1).fill(0)
      assert.deepStrictEqual(
        Object.fromEntries(found.map((metric) => [metric.name.slice("effect_eventsourcing_".length), valueOf(metric)])),
        {
          appends_total: [8],
          events_appended_total: [12],
          append_conflicts_total: [2],
          cache_hits_total: [6],
          cache_misses_total: [3],
          events_projected_total: [1],
          projection_retries_total: [2],
          events_set_aside_total: [1],
          projection_lag_positions: [0],
          projection_lag_seconds: [0],
          process_causes_total: [4],
          process_conflicts_total: [1],
          process_lag_seconds: [0],
          // each was Starting, perhaps something else, Live, and has Stopped
          projection_state: [...left("projection_state"), 1],
          process_state: [...left("process_state"), 1]
        }
      )
    })
  )

  it.live("receives every documented span, with its attributes", () =>
    Effect.gen(function* () {
      const { spans } = yield* exported
      const names = new Set<string>()
      for (const { name, cells } of documented("Spans")) {
        const ofName = spans.filter((span) => span.name === name.replace("<name>", "dogs"))
        assert.isNotEmpty(ofName, name)
        const possible = codes(cells[0])
        const given = new Set(ofName.flatMap((span) => Object.keys(toObject(span.attributes))))
        assert.sameMembers([...given], possible, name)
        names.add(name.replace("<name>", "dogs"))
      }
      const own = spans.map(({ name }) => name).filter((name) => name.startsWith("effect-eventsourcing/"))
      assert.sameMembers([...new Set(own)], [...names])
    })
  )

  it.live("receives links from a projection's span to the commands that recorded its events, in their traces", () =>
    Effect.gen(function* () {
      const { spans } = yield* exported
      const named = (name: string) => spans.filter((span) => span.name === `effect-eventsourcing/${name}`)
      const place = ({ traceId, spanId }: Pick<Span, "traceId" | "spanId">) => `${traceId}/${spanId}`
      const linked = new Set(named("Projection.dogs").flatMap(({ links }) => links.map(place)))
      assert.sameMembers([...linked], named("Repository.execute").map(place))
      assert.lengthOf(linked, 2)
      for (const { parentSpanId } of named("Projection.dogs")) assert.isUndefined(parentSpanId)
      const requests = new Map(
        spans.filter(({ name }) => name === "request").map((span) => [span.spanId, span.traceId])
      )
      for (const { parentSpanId = "", traceId } of named("Repository.execute")) {
        assert.strictEqual(requests.get(parentSpanId), traceId)
      }
    })
  )
})
