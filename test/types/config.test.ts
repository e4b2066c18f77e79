/** The type of the configured layer: what any backend provides, and what the program requires. */
import { describe, expectTypeOf, it } from "@effect/vitest"
import type { Config } from "effect"
import { Effect, Layer } from "effect"
import type {
  EventSourcingError as Errors,
  EventSourcing,
  Recorder,
  SnapshotRecorder,
  ViewStore
} from "effect-eventsourcing"
import { Mapper, MultiStreamAppend, Repository, StreamCatalog } from "effect-eventsourcing"
import { ConfigLayer, ConfigMapper, ConfigViews } from "effect-eventsourcing/config"
import type { KurrentLayer, KurrentOptions, KurrentServices } from "effect-eventsourcing/kurrent"
import type { Services as MemoryServices } from "effect-eventsourcing/memory"
import type { PostgresOptions, PostgresServices } from "effect-eventsourcing/postgres"
import type { SqliteOptions, SqliteServices } from "effect-eventsourcing/sqlite"
import type { capabilities, Provided } from "../../src/config/backends.ts"
import { Dog } from "../support/dog.ts"

type Common = EventSourcing.EventSourcing | Recorder.Recorder | SnapshotRecorder.SnapshotRecorder
type Problem = Errors.RecorderError | Config.ConfigError

const types = (_: () => unknown) => {}

const rex = Dog.id("Rex")

describe("ConfigLayer", () => {
  it("provides what all backends provide", () => {
    expectTypeOf(ConfigLayer()).toEqualTypeOf<Layer.Layer<Common, Problem>>()
    expectTypeOf<
      Exclude<Common, EventSourcing.EventSourcing | MemoryServices> | Exclude<Common, SqliteServices>
    >().toBeNever()
    expectTypeOf<Exclude<Common, PostgresServices> | Exclude<Common, KurrentServices>>().toBeNever()
  })

  it("provides what the program requires", () => {
    const layer = ConfigLayer({ requires: [MultiStreamAppend.MultiStreamAppend, StreamCatalog.StreamCatalog] })
    type Required = MultiStreamAppend.MultiStreamAppend | StreamCatalog.StreamCatalog
    expectTypeOf<Layer.Success<typeof layer>>().toEqualTypeOf<Common | Required>()
    expectTypeOf<Layer.Error<typeof layer>>().toEqualTypeOf<Problem>()
  })

  it("knows all that each backend provides", () => {
    type Known<B extends keyof typeof capabilities> = Provided<(typeof capabilities)[B][number]>
    type OnKurrent = Layer.Success<ReturnType<typeof KurrentLayer.multiStream>>
    expectTypeOf<MemoryServices | EventSourcing.EventSourcing>().toEqualTypeOf<Common | Known<"memory">>()
    expectTypeOf<SqliteServices>().toEqualTypeOf<Common | Known<"sqlite">>()
    expectTypeOf<PostgresServices>().toEqualTypeOf<Common | Known<"postgres">>()
    expectTypeOf<OnKurrent>().toEqualTypeOf<Common | Known<"kurrent">>()
  })

  it("a program does not compile that uses what it does not require", () => {
    types(() => {
      const transaction = Effect.flatMap(Repository.Repository, (repository) =>
        repository.transaction({ rex: Repository.existing(Dog, rex) }, () => ({}))
      )
      const run = (self: Effect.Effect<unknown, unknown>) => self
      run(transaction.pipe(Effect.provide(ConfigLayer({ requires: [MultiStreamAppend.MultiStreamAppend] }))))
      // @ts-expect-error: MultiStreamAppend is not provided
      run(transaction.pipe(Effect.provide(ConfigLayer())))
      // @ts-expect-error: only capabilities that some backends lack can be required
      ConfigLayer({ requires: [Mapper.Mapper] })
      // @ts-expect-error: there is no such backend
      ConfigLayer({ persistence: "mysql" })
    })
  })

  it("needs and fails with what its own mapper does", () => {
    types(() => {
      const mapper = Layer.effect(
        Mapper.Mapper,
        Effect.flatMap(Repository.Repository, () => Effect.fail("no" as const))
      )
      expectTypeOf(ConfigLayer({ mapper })).toEqualTypeOf<Layer.Layer<Common, Problem | "no", Repository.Repository>>()
    })
  })

  it("takes the options of each backend, except inline projections", () => {
    type Options = NonNullable<Parameters<typeof ConfigLayer>[0]>
    type Shared = keyof EventSourcing.Options | "inline" | "viewsSchema"
    expectTypeOf<keyof NonNullable<Options["sqlite"]>>().toEqualTypeOf<Exclude<keyof SqliteOptions, Shared>>()
    expectTypeOf<keyof NonNullable<Options["postgres"]>>().toEqualTypeOf<Exclude<keyof PostgresOptions, Shared>>()
    expectTypeOf<keyof NonNullable<Options["kurrent"]>>().toEqualTypeOf<Exclude<keyof KurrentOptions, Shared>>()
  })
})

describe("ConfigMapper and ConfigViews", () => {
  it("provide one service each", () => {
    expectTypeOf(ConfigMapper()).toEqualTypeOf<Layer.Layer<Mapper.Mapper, Config.ConfigError>>()
    expectTypeOf(ConfigViews()).toEqualTypeOf<Layer.Layer<ViewStore.SqlViewStore, Problem>>()
  })
})
