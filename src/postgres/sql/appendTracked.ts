import { appendEventsParameters } from "./appendEvents.ts"
import { declaration, namedArguments } from "./functions.ts"
import { quote } from "./identifiers.ts"

/** The parameters of `append_events`, and the note of the move. */
export const appendTrackedParameters = [...appendEventsParameters, ["move_note", "text"]] as const

/** The version of the schema that introduced the function. */
export const APPEND_TRACKED = 3

/**
 * `append_tracked` is `append_events` for an append whose tracking move has a note. It is a function of its own, so that
 * applications of an older version find `append_events` as they know it.
 */
export const appendTracked = (schema: string): string => {
  const s = quote(schema)
  return `CREATE OR REPLACE FUNCTION ${s}.append_tracked(
${declaration(appendTrackedParameters)},
  OUT first_position bigint, OUT actual integer[], OUT refused integer[], OUT repeated bigint[], OUT tracked bigint
)
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
  SELECT appended.first_position, appended.actual, appended.refused, appended.repeated, appended.tracked
  INTO first_position, actual, refused, repeated, tracked
  FROM ${s}.append_events(
${appendEventsParameters.map(([name]) => `    ${name} => ${name}`).join(",\n")}
  ) AS appended;
  IF refused IS NULL AND tracked IS NULL THEN
    UPDATE ${s}.stored_tracking AS t SET note = move_note
    WHERE t.projection = move_projection AND t.projection_version = move_projection_version
      AND t.upstream = move_upstream AND t.slice = move_slice;
  END IF;
END;
$function$`
}

export const callAppendTracked = (schema: string): string =>
  `SELECT first_position, actual, refused, repeated, tracked
  FROM ${quote(schema)}.append_tracked(${namedArguments(appendTrackedParameters)})`
