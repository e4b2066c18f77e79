/**
 * The one writer of a log: it does everything that waits at once, makes it durable at once, and only then shows and
 * answers it.
 *
 * There are two logs: the written one decides what is accepted, and the readable one gets the events a moment later. So
 * the loser of a race is refused before the event that won can be read, as on the server.
 */
import type { Disk } from "./disk.ts"
import type { Group, Log } from "./Log.ts"

interface Job {
  /** Changes the log, and returns what goes to the disk and what to respond once it is there. */
  readonly write: (log: Log) => {
    readonly groups: ReadonlyArray<Group>
    /** Whether it is refused; a refusal is sent at once. */
    readonly refused?: boolean
    /** Whether it writes nothing, because it is recorded already or was written together with this one. */
    readonly repeated?: boolean
    /** Responds that it took too long. */
    readonly giveUp?: () => void
    readonly answer: () => void
  }
}

/** The most jobs that are done at once, if more keep coming. */
const most = 500

/** How much later, in milliseconds, events that made others be refused can be read. */
const indexing = 3

export class Writer {
  readonly #written: Log
  readonly #shown: Log
  readonly #disk: Disk | undefined
  readonly #lag: () => number
  readonly #answersOnce: () => number
  readonly #jobs: Array<Job> = []
  readonly #listeners = new Set<() => void>()

  /** The writes that wait to be shown, in the order in which they were made. */
  readonly #hidden: Array<{ readonly later: number; readonly show: () => void }> = []

  /**
   * `lag`: for how many milliseconds written events can't be read yet. `answersOnce`: after how many milliseconds an
   * append that is under way twice is given up, if only one of the two gets a response.
   */
  constructor(
    logs: { readonly written: Log; readonly shown: Log },
    disk: Disk | undefined,
    { answersOnce, lag }: { readonly lag: () => number; readonly answersOnce: () => number }
  ) {
    this.#written = logs.written
    this.#shown = logs.shown
    this.#disk = disk
    this.#lag = lag
    this.#answersOnce = answersOnce
  }

  submit(write: Job["write"]): void {
    if (this.#jobs.push({ write }) === 1) this.#schedule(0)
  }

  /** Waits as long as more comes, since one flush of all costs as much as one of each. */
  #schedule(seen: number): void {
    setImmediate(() => {
      const { length } = this.#jobs
      if (length === seen || length >= most) this.#flush()
      else this.#schedule(length)
    })
  }

  /** Calls back, once, when something has been written. */
  next(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Nothing is shown before it is flushed, so no reader sees what a crash could undo. */
  #flush(): void {
    const results = this.#jobs.splice(0).map(({ write }) => write(this.#written))
    const groups = results.flatMap((result) => result.groups)
    if (groups.length > 0) this.#disk?.write(groups)
    const refused = results.filter((result) => result.refused === true)
    for (const { answer } of refused) answer()
    const show = () => {
      for (const group of groups) this.#shown.restore(group)
      if (groups.length > 0) {
        const listeners = [...this.#listeners]
        this.#listeners.clear()
        for (const listener of listeners) listener()
      }
      for (const { answer, giveUp, refused, repeated } of results) {
        if (refused === true) continue
        const patience = repeated === true && groups.length > 0 ? this.#answersOnce() : 0
        if (patience > 0 && giveUp !== undefined) setTimeout(giveUp, patience)
        else answer()
      }
    }
    const later = Math.max(this.#lag(), groups.length > 0 && refused.length > 0 ? indexing : 0)
    if (this.#hidden.push({ later, show }) === 1) this.#show()
  }

  /** Shows the written events, one after the other. */
  #show(): void {
    const [next] = this.#hidden
    if (next === undefined) return
    const show = () => {
      next.show()
      this.#hidden.shift()
      this.#show()
    }
    if (next.later === 0) show()
    else setTimeout(show, next.later)
  }
}
