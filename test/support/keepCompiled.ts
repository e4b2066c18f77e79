/** Keeps what a process has compiled for later processes, even if it is killed. */
import { flushCompileCache } from "node:module"

setTimeout(flushCompileCache, 500).unref()
