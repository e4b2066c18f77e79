import { literal } from "./identifiers.ts"

/** The library's own tables, of a log or of tracking: they do not belong to any view, even in its schema. */
const OWN = ["stored_events", "stored_log", "projection_tracking"]

/**
 * The objects outside a schema that prevent its removal: those that PostgreSQL lists when it refuses a DROP without
 * CASCADE. In addition, the partitions elsewhere of the schema's tables, which would be dropped without a warning, and
 * the library's own tables in the schema.
 */
export const dependents = (schema: string): string => `WITH RECURSIVE
  place AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ${literal(schema)}),
  -- what is in the schema, and the parts of it: indexes, constraints, defaults, rules, triggers
  inside (classid, objid) AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN place ON d.refobjid = place.oid
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass
    UNION
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN inside ON d.refclassid = inside.classid AND d.refobjid = inside.objid
    WHERE d.deptype <> 'n' AND d.objsubid = 0
  ),
  -- the rule of a view stands for the view
  outside (classid, objid, objsubid) AS (
    SELECT CASE WHEN r.ev_class IS NULL THEN d.classid ELSE 'pg_catalog.pg_class'::regclass END,
      coalesce(r.ev_class, d.objid), CASE WHEN r.ev_class IS NULL THEN d.objsubid ELSE 0 END
    FROM pg_catalog.pg_depend d
    JOIN inside ON d.refclassid = inside.classid AND d.refobjid = inside.objid
    LEFT JOIN pg_catalog.pg_rewrite r
      ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
    WHERE d.deptype = 'n' AND NOT EXISTS (SELECT 1 FROM inside i WHERE i.classid = d.classid AND i.objid = d.objid)
    UNION
    SELECT inside.classid, inside.objid, 0 FROM inside
    JOIN pg_catalog.pg_class c ON inside.classid = 'pg_catalog.pg_class'::regclass AND c.oid = inside.objid
    JOIN place ON true
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
      AND (c.relnamespace <> place.oid OR c.relname IN (${OWN.map(literal).join(", ")}))
  )
SELECT o.type || ' ' || o.identity AS name
FROM outside, LATERAL pg_catalog.pg_identify_object(outside.classid, outside.objid, outside.objsubid) o
ORDER BY name`

/** The tables of a schema, quoted: they are locked so that no new dependents appear in the meantime. */
export const tablesOf = (schema: string): string => `SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ${literal(schema)} AND c.relkind IN ('r', 'p') ORDER BY name`
