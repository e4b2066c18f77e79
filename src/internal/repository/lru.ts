/** A bounded map that discards the least recently used entry. It is synchronous because every command uses it. */
export class Lru<V> {
  readonly #entries = new Map<string, V>()
  readonly #capacity: number
  /** The most recently used entry need not be moved to the end again: the common case of one busy aggregate. */
  #newest: string | undefined

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    if (key !== this.#newest) this.#moveToEnd(key, value)
    return value
  }

  set(key: string, value: V): void {
    if (key === this.#newest) {
      this.#entries.set(key, value)
      return
    }
    this.#moveToEnd(key, value)
    if (this.#entries.size <= this.#capacity) return
    for (const oldest of this.#entries.keys()) {
      this.delete(oldest)
      return
    }
  }

  delete(key: string): void {
    this.#entries.delete(key)
    if (key === this.#newest) this.#newest = undefined
  }

  #moveToEnd(key: string, value: V): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    this.#newest = key
  }
}
