/** Gives each namespace of the reference the comment that its file begins with, and that TypeDoc takes for a licence. */
import * as fs from "node:fs"
import { Comment, Converter, ReflectionKind } from "typedoc"

export const load = (app) => {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const namespace of project.getReflectionsByKind(ReflectionKind.Namespace | ReflectionKind.Module)) {
      const file = namespace.sources?.[0]?.fullFileName ?? project.getSymbolIdFromReflection(namespace)?.fileName
      if (namespace.comment !== undefined || file === undefined) continue
      const [, text] = /^\/\*\*([\s\S]*?)\*\//.exec(fs.readFileSync(file, "utf8")) ?? []
      if (text === undefined) continue
      const [summary, example] = text.replace(/^ ?\* ?/gm, "").split("@example")
      const lines = [summary, ...(example === undefined ? [] : ["**Example**\n", example])].join("\n")
      namespace.comment = new Comment([{ kind: "text", text: lines.replaceAll(/\{@link (\w+)\}/g, "`$1`").trim() }])
    }
  })
}
