/** Where the files lie: on a disk, or nothing that is measured about commits means anything. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { Data, Effect } from "effect"
import type { Backend } from "./backends/Backend.ts"
import { sqlite } from "./backends/sqlite.ts"
import { FIRST, openOrders, use } from "./fill.ts"
import { itemAt, Order, orderIds } from "./order.ts"
import { median } from "./timing.ts"

/** A folder that is no place for the files. */
export class UnfitFolder extends Data.TaggedError("UnfitFolder")<{ readonly message: string }> {}

export interface Disk {
  readonly folder: string
  /** The file system and, where the system tells, the device. */
  readonly description: string
}

/** The magic numbers of file systems (statfs(2)). */
const fileSystems: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x2fc12fc1, "zfs"],
  [0xf2f52010, "f2fs"],
  [0xca451a4e, "bcachefs"],
  [0x794c7630, "overlay"],
  [0x6969, "nfs"],
  [0x01021997, "9p"],
  [0x65735546, "fuse"],
  [0x1a, "apfs"]
])

const inMemory: ReadonlyMap<number, string> = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"]
])

/** Makes the folder if need be, and refuses one that lies in memory. */
export const inspect = (folder: string): Effect.Effect<Disk, UnfitFolder> =>
  Effect.gen(function* () {
    const attempt = <A>(f: () => A) =>
      Effect.try({
        try: f,
        catch: (cause) => new UnfitFolder({ message: `the folder "${folder}" can't be used: ${String(cause)}` })
      })
    const type = yield* attempt(() => Fs.statfsSync(existing(folder)).type)
    const memory = inMemory.get(type)
    if (memory !== undefined) {
      const message = `"${folder}" is on ${memory}, where a commit reaches no disk; name a folder on a disk with --dir`
      return yield* new UnfitFolder({ message })
    }
    yield* attempt(() => Fs.mkdirSync(folder, { recursive: true }))
    const name = fileSystems.get(type) ?? `a file system of type 0x${type.toString(16)}`
    const device = deviceOf(Fs.realpathSync(folder))
    return { folder, description: device === undefined ? name : `${name} on ${device}` }
  })

/** The folder, or the nearest one above it that is there. */
const existing = (folder: string): string => (Fs.existsSync(folder) ? folder : existing(Path.dirname(folder)))

/** The device of the longest mount point that holds the folder; only Linux tells. */
const deviceOf = (folder: string): string | undefined => {
  try {
    const mounts = Fs.readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => line.split(" "))
      .filter(([, point = ""]) => !Path.relative(point || "/dev/null", folder).startsWith(".."))
    return mounts.reduce<ReadonlyArray<string>>(
      (longest, mount) => ((mount[1] ?? "").length >= (longest[1] ?? "").length ? mount : longest),
      []
    )[0]
  } catch {
    return undefined
  }
}

const COMMITS = 500

/** What a transaction of one row costs, in seconds. */
export interface CommitCost {
  /** One directly after the other. */
  readonly backToBack: number
  /** With a pause before each, without the pause: disks that sleep between requests, virtual ones above all, wake late. */
  readonly afterPause: number
}

/** The pause between two commits, in seconds: about what a command takes from one to the next, with cold caches. */
export const PAUSE = 40e-6

const idle = (seconds: number): void => {
  const until = performance.now() + seconds * 1000
  while (performance.now() < until);
}

/** What a transaction of one row costs there, on the average of many, by the raw driver on the library's table. */
export const commitCost = (folder: string): Effect.Effect<CommitCost, unknown> =>
  Effect.gen(function* () {
    const backend: Backend = sqlite(folder, 0)
    const log = yield* backend.newLog
    const ids = orderIds(1)
    const raw = yield* Effect.andThen(openOrders(ids), log.raw).pipe(Effect.provide(log.layer()))
    yield* use(raw)
    const [stream = ""] = ids.map(Order.stream)
    let version = FIRST
    const measure = (pause: number) => {
      let took = 0
      for (let n = 0; n < COMMITS; n++) {
        idle(pause)
        const began = performance.now()
        raw.transaction(() => raw.insert(stream, version, itemAt(version)))
        took += performance.now() - began
        version++
      }
      return took / 1000 / COMMITS
    }
    // in turn, so that neither has the growing file for itself
    return yield* Effect.sync(() => {
      const turns = Array.from({ length: 4 }, () => ({ backToBack: measure(0), afterPause: measure(PAUSE) }))
      return {
        backToBack: median(turns.map(({ backToBack }) => backToBack)),
        afterPause: median(turns.map(({ afterPause }) => afterPause))
      }
    })
  }).pipe(Effect.scoped)
