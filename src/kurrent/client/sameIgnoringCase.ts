/** Names of streams that the server takes for the same: it ignores case when it compares those of one call. */

/** The first stream that is named more than once, if there is one. */
export const repeatedStream = (parts: ReadonlyArray<{ readonly stream: string }>): string | undefined => {
  const seen = new Set<string>()
  return parts.find(({ stream }) => seen.size === seen.add(stream).size)?.stream
}

/** Why streams can't be in one append, or `undefined` if they can. */
export const sameIgnoringCase = (parts: ReadonlyArray<{ readonly stream: string }>): string | undefined => {
  const seen = new Map<string, string>()
  for (const { stream } of parts) {
    const other = seen.get(stream.toLowerCase())
    if (other !== undefined && other !== stream) {
      return `KurrentDB takes "${other}" and "${stream}" for the same stream if both are in one append; append to them separately`
    }
    seen.set(stream.toLowerCase(), stream)
  }
  return undefined
}
