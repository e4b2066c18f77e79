/** Keeps what a process has compiled for those that come after it, also if it is killed. */
import { flushCompileCache } from "node:module"

setTimeout(flushCompileCache, 500).unref()
