/** The clock and randomness, which a pure function does not look at, in two different settings. */

/** Runs something synchronous while the clock shows the time of this world, and randomness returns its values. */
export const inWorld = <A>(world: 0 | 1, f: () => A): A => {
  const OwnDate = globalThis.Date
  // different in everything that code may derive from a time: the year, the half of the day, weekend or not, odd or
  // even
  const time = world === 0 ? OwnDate.UTC(2001, 1, 3, 4, 5, 6, 789) : OwnDate.UTC(2032, 10, 10, 16, 48, 37, 210)
  const digit = world === 0 ? "1" : "e"
  const date = new Proxy(OwnDate, {
    apply: () => new OwnDate(time).toString(),
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [time] : args, newTarget) as object,
    get: (target, property) => (property === "now" ? () => time : Reflect.get(target, property))
  })
  const restore = [
    replace(globalThis, "Date", date),
    replace(Math, "random", () => (world === 0 ? 0 : 1 - 2 ** -53)),
    replace(globalThis.performance, "now", () => time),
    replace(globalThis.crypto, "randomUUID", () => `${digit.repeat(8)}-0000-4000-8000-${digit.repeat(12)}`)
  ]
  try {
    return f()
  } finally {
    for (const one of restore) one()
  }
}

/** Replaces a property; returns how to restore the original. */
const replace = (object: object | undefined, name: string, value: unknown): (() => void) => {
  if (object === undefined) return () => {}
  const own = Object.getOwnPropertyDescriptor(object, name)
  Object.defineProperty(object, name, {
    value,
    configurable: true,
    writable: true,
    enumerable: own?.enumerable ?? false
  })
  return () => {
    if (own === undefined) Reflect.deleteProperty(object, name)
    else Object.defineProperty(object, name, own)
  }
}
