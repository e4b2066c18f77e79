/** The one writer of a log: it does all that waits at once, makes it durable at once, and only then shows and answers it. */
import type { Disk } from "./disk.ts"
import type { Group, Log } from "./Log.ts"

interface Job {
  /** Changes the log and answers with what goes to the disk, and with what to say when it is there. */
  readonly write: (log: Log) => { readonly groups: ReadonlyArray<Group>; readonly answer: () => void }
}

/** How many jobs are done at once at most, if more keeps coming. */
const most = 500

export class Writer {
  readonly #log: Log
  readonly #disk: Disk | undefined
  readonly #jobs: Array<Job> = []
  readonly #listeners = new Set<() => void>()

  constructor(log: Log, disk: Disk | undefined) {
    this.#log = log
    this.#disk = disk
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

  /** Nothing else runs between the change of the log and its flush, so nobody reads what a crash could take back. */
  #flush(): void {
    const results = this.#jobs.splice(0).map(({ write }) => write(this.#log))
    const groups = results.flatMap((result) => result.groups)
    if (groups.length > 0) {
      this.#disk?.write(groups)
      const listeners = [...this.#listeners]
      this.#listeners.clear()
      for (const listener of listeners) listener()
    }
    for (const { answer } of results) answer()
  }
}
