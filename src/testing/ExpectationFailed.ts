/**
 * A result differs from the expected one. The message contains what was given, what was expected and what resulted,
 * with a line-by-line difference; every test runner shows it unchanged.
 *
 * `expected` and `actual` are the values that were compared; `cause` is the unexpected failure, if there was one.
 */
export class ExpectationFailed extends Error {
  readonly expected: unknown
  readonly actual: unknown
  /** The message already contains the difference: runners need not print another. */
  readonly showDiff = false

  constructor(
    message: string,
    details: { readonly expected?: unknown; readonly actual?: unknown; readonly cause?: unknown } = {}
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.expected = details.expected
    this.actual = details.actual
  }

  // not properties of each error, because some runners would print them below the message
  get _tag(): "ExpectationFailed" {
    return "ExpectationFailed"
  }
  override get name(): "ExpectationFailed" {
    return "ExpectationFailed"
  }
}
