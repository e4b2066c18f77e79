/** The contract of {@link StreamCatalog}. */
import { assert, describe } from "@effect/vitest"
import { Array as Arr, Context, Effect } from "effect"
import { Recorder } from "../../Recorder.ts"
import type { ListStreams } from "../../StreamCatalog.ts"
import { StreamCatalog } from "../../StreamCatalog.ts"
import * as StreamName from "../../StreamName.ts"
import type { Backend } from "./Backend.ts"
import { storedEvents } from "./events.ts"
import { stream } from "./internal/reading.ts"
import { reopeningTestsOn, testsOn } from "./internal/register.ts"

type Services = Recorder | StreamCatalog

/**
 * Names in the order of their code points: capitals before lower-case letters, case is not ignored, and names with
 * surrogates in UTF-16 come after those without.
 */
const names = [
  ...[" Dog-1", "'-1", "Cat-1", "Cat-10", "Cat-2", "D%g-1", "D_g-1", "Dog -1", "Dog!-1", "Dog,-1"],
  ...["Dog- ", "Dog-1", "Dog-1-2", "Dog-10", "Dog-2", "Dog-A", "Dog-Z", "Dog-a", "Dog-e\u0301", "Dog-z"],
  ...["Dog-\u00e9", "Dog-\u0416", "Dog-\ufb01", "Dog-\ufffd", "Dog-\uffff", "Dog-\u{10000}", "Dog-\u{1f436}"],
  ...["Dog-\u{10ffff}", "Dog.-1", "Dog.x-1", "Dog/-1", "Dogs-1", "Do\u0308g-1", "D\u00f6g-1", "dog-1"],
  ...["\ufffd-1", "\u{1f436}-1"]
].map(stream)

/** Registers the tests of listing streams. */
export const streamCatalogContract = (backend: Backend<Services>): void => {
  const test = testsOn(backend)
  const testReopening = reopeningTestsOn(backend)

  const namesOf = (list: Omit<ListStreams, "limit"> & { readonly limit?: number }) =>
    Effect.gen(function* () {
      const page = yield* (yield* StreamCatalog).list({ limit: 1000, ...list })
      return page.map((head) => head.stream)
    })

  const createAll = Effect.gen(function* () {
    const recorder = yield* Recorder
    const shuffled = names.toSorted((a, b) => ((a.length * 7 + b.length * 3) % 5) - 2)
    yield* Effect.forEach(
      shuffled,
      (name) => recorder.append({ stream: name, expected: "NoStream", events: storedEvents(1) }),
      { concurrency: 8, discard: true }
    )
  })

  describe(`StreamCatalog contract on ${backend.name}`, () => {
    test("a new log has no streams", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* namesOf({}), [])
        assert.deepStrictEqual(yield* namesOf({ category: "Dog", after: stream("Dog-1") }), [])
      }))

    test("streams are listed once each, with the version of their last event", ({ connect }) =>
      Effect.gen(function* () {
        const [recorder, catalog] = [yield* Recorder, Context.get(yield* connect, StreamCatalog)]
        const append = (name: string, expected: "NoStream" | number, count: number) =>
          recorder.append({ stream: stream(name), expected, events: storedEvents(count) })
        yield* append("Dog-rex", "NoStream", 3)
        yield* append("Cat-tom", "NoStream", 1)
        yield* append("Dog-fido", "NoStream", 100)
        yield* append("Dog-rex", 2, 2)
        yield* Effect.flip(append("Dog-missing", 4, 1))
        const heads = (yield* catalog.list({ limit: 10 })).map((head) => ({ ...head }))
        assert.deepStrictEqual(heads, [
          { stream: stream("Cat-tom"), version: 0 },
          { stream: stream("Dog-fido"), version: 99 },
          { stream: stream("Dog-rex"), version: 4 }
        ])
      }))

    test("G8 streams are listed by their exact names, in the order of code points", () =>
      Effect.gen(function* () {
        yield* createAll
        assert.deepStrictEqual(yield* namesOf({}), names)
      }))

    test("a category lists exactly its streams", () =>
      Effect.gen(function* () {
        yield* createAll
        for (const [category, ofCategory] of Map.groupBy(names, StreamName.category)) {
          assert.deepStrictEqual(yield* namesOf({ category }), ofCategory, category)
        }
        for (const category of ["Unknown", "Dog-1", "Dog-", "D", "%", "_", "Dog%"]) {
          assert.deepStrictEqual(yield* namesOf({ category }), [], category)
        }
      }))

    test("a page begins after a name, whether or not there is such a stream", () =>
      Effect.gen(function* () {
        yield* createAll
        const dogs = names.filter((name) => StreamName.category(name) === "Dog")
        for (const [i, after] of names.entries()) {
          assert.deepStrictEqual(yield* namesOf({ after }), names.slice(i + 1), after)
          const dogsBehind = dogs.filter((dog) => names.indexOf(dog) > i)
          assert.deepStrictEqual(yield* namesOf({ after, category: "Dog" }), dogsBehind, after)
        }
        const between = stream("Dog-15")
        assert.deepStrictEqual(yield* namesOf({ after: between }), names.slice(names.indexOf(stream("Dog-2"))))
      }))

    test("a page has at most as many streams as its limit", () =>
      Effect.gen(function* () {
        yield* createAll
        for (const limit of [0, 1, 2, names.length - 1, names.length, names.length + 1]) {
          assert.deepStrictEqual(yield* namesOf({ limit }), names.slice(0, limit))
        }
        const dogs = yield* namesOf({ category: "Dog" })
        for (const limit of [0, 1, dogs.length]) {
          assert.deepStrictEqual(yield* namesOf({ limit, category: "Dog" }), dogs.slice(0, limit))
        }
      }))

    test("pages of any size contain each stream once, also while others are created", () =>
      Effect.gen(function* () {
        const recorder = yield* Recorder
        const create = (name: string) =>
          recorder.append({ stream: stream(name), expected: "NoStream", events: storedEvents(2) })
        const numbered = Arr.makeBy(300, (n) => `Dog-${String(n).padStart(3, "0")}`)
        yield* Effect.forEach(numbered, create, { concurrency: 20, discard: true })
        for (const limit of [1, 7, 100, 299, 300, 301]) {
          const listed: Array<StreamName.StreamName> = []
          while (true) {
            const page = yield* namesOf({ category: "Dog", after: listed.at(-1), limit })
            listed.push(...page)
            if (page.length < limit) break
            for (const category of ["Cow", "Eel"]) yield* create(`${category}-${limit}-${listed.length}`)
          }
          assert.deepStrictEqual(listed, numbered.map(stream))
        }
      }))

    testReopening("G5 streams are listed when the log is reopened", createAll, () =>
      Effect.map(namesOf({}), (listed) => assert.deepStrictEqual(listed, names))
    )
  })
}
