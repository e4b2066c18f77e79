/** Transactions on a value in memory: they work on a draft of it, which replaces the value if all of them succeeds. */
import type { Clock } from "effect"
import { Effect, Exit } from "effect"
import { handlerEnded } from "../../internal/projection/handling.ts"
import type { Position } from "../../Position.ts"
import type { MemoryView } from "../../View.ts"
import type { DeadLetter, Seen, Transaction } from "../../ViewStore.ts"
import type { Entry } from "./entries.ts"

/** How long the work of a move continues, in milliseconds, so that progress becomes visible. */
const MAX_MILLIS = 1000

/** The end of a move that ends earlier than planned. */
export interface End {
  readonly position: Position
  readonly seen: Seen | undefined
}

/** The changes of a transaction to a version. */
interface Draft {
  state: unknown
  letters: ReadonlyArray<DeadLetter>
  end: End | undefined
  /** Whether the transaction has ended: changes after that would be lost. */
  hasEnded: boolean
}

/** Works on a draft of a version. If the work succeeds, the draft takes effect, and `done` is called. */
export const withDraft = <A, E, R>(
  entry: Entry,
  work: (view: MemoryView<unknown>, transaction: Transaction) => Effect.Effect<A, E, R>,
  done: (end: End | undefined) => void
): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) => {
    const draft: Draft = { state: entry.state, letters: entry.letters, end: undefined, hasEnded: false }
    return Effect.onExitPrimitive(work(viewOf(draft, entry.key.version), transactionOf(draft, clock)), (exit) => {
      draft.hasEnded = true
      if (Exit.isFailure(exit)) return undefined
      entry.state = draft.state
      entry.letters = draft.letters
      done(draft.end)
      return undefined
    })
  })

const viewOf = (draft: Draft, version: number): MemoryView<unknown> => ({
  get: whileOpen(draft, () => draft.state),
  set: (next) =>
    whileOpen(draft, () => {
      draft.state = next
    }),
  update: (f) =>
    whileOpen(draft, () => {
      draft.state = f(draft.state)
    }),
  version
})

/** Dies if the transaction has ended, since these calls can't fail. */
const whileOpen = <A>(draft: Draft, use: () => A): Effect.Effect<A> =>
  Effect.sync(() => {
    if (draft.hasEnded) throw handlerEnded()
    return use()
  })

const transactionOf = (draft: Draft, clock: Clock.Clock): Transaction => {
  const until = clock.currentTimeMillisUnsafe() + MAX_MILLIS
  return {
    setAside: (letter) =>
      Effect.sync(() => {
        draft.letters = [...draft.letters, letter]
      }),
    isSetAside: (stream) => Effect.sync(() => draft.letters.some((letter) => letter.stream === stream)),
    discard: (stream) =>
      Effect.sync(() => {
        const kept = draft.letters.filter((letter) => letter.stream !== stream)
        const discarded = draft.letters.length - kept.length
        draft.letters = kept
        return discarded
      }),
    left: () => until - clock.currentTimeMillisUnsafe(),
    endAt: (position, seen) =>
      Effect.sync(() => {
        draft.end = { position, seen }
      })
  }
}
