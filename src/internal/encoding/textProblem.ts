/**
 * Why a text can't be recorded as it is, or `undefined` if it can: it is empty, it contains a NUL, which PostgreSQL's
 * texts can't, or it contains a lone surrogate, which has no UTF-8 form.
 */
export const textProblem = (text: string): string | undefined => {
  if (text.length === 0) return "is empty"
  if (text.includes("\0")) return "contains a NUL character"
  return text.isWellFormed() ? undefined : "is not well-formed Unicode (it contains a lone surrogate)"
}
