/** What a dog promises, as given, when, then; and what holds for any aggregate, checked with generated values. */
import { describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { given } from "effect-eventsourcing/testing"
import { generated, testAggregate } from "effect-eventsourcing/testing/vitest"
import { addTrick, Dog, TrickAlreadyKnown } from "./Dog.ts"

const registered = Dog.Registered({ name: "Fido" })
const taught = Dog.TrickAdded({ trick: "roll over" })

describe("a dog", () => {
  it("learns a trick", () => given(Dog, registered).when(addTrick("roll over")).thenEvents(taught))

  it("can do what it has learnt", () =>
    given(Dog, registered, taught).thenState({ name: "Fido", tricks: ["roll over"] }))

  it("learns no trick twice", () =>
    given(Dog, registered, taught)
      .when(addTrick("roll over"))
      .thenFails(new TrickAlreadyKnown({ dog: "Fido", trick: "roll over" })))

  it("has to be registered, once", () => {
    given(Dog).when(addTrick("roll over")).thenFails("AggregateNotFound")
    given(Dog, registered).when(registered).thenFails("AggregateAlreadyExists")
  })
})

testAggregate(Dog, { decisions: { addTrick: generated(addTrick, Schema.NonEmptyString) } })
