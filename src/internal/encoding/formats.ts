/** Indexes the formats of a log by the names that its events carry. Throws on a name that events can't carry. */
export const byName = <F extends { readonly name: string }>(formats: ReadonlyArray<F>): ReadonlyMap<string, F> => {
  for (const { name } of formats) {
    if (!/^[a-z0-9-]{1,32}$/.test(name))
      throw new Error(`invalid format name "${name}": it must be 1 to 32 lower-case letters, digits or "-"`)
  }
  return new Map(formats.map((format) => [format.name, format]))
}
