/** A parameter of a function of the schema. */
export type FunctionParameter<Name extends string = string> = readonly [name: Name, type: string]

/** The parameters in the form that `CREATE FUNCTION` requires. */
export const declaration = (parameters: ReadonlyArray<FunctionParameter>): string =>
  parameters.map(([name, type]) => `  ${name} ${type}`).join(",\n")

/** The arguments of a call, each by its parameter's name: `lock_timeout => $1, …`. */
export const namedArguments = (parameters: ReadonlyArray<FunctionParameter>): string =>
  parameters.map(([name], i) => `${name} => $${i + 1}`).join(", ")
