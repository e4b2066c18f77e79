import { literal } from "./identifiers.ts"

/** The tables of the library's own, of a log or of tracking: nobody's view, also if they are in its schema. */
const OWN = ["stored_events", "stored_log", "projection_tracking"]

/**
 * What a schema can't be removed without, though it is not of the schema: what PostgreSQL lists when a DROP without CASCADE
 * is refused. Besides, partitions elsewhere of its tables, which go without a word, and tables of the library's own in it.
 */
export const dependents = (schema: string): string => `WITH RECURSIVE
  place AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ${literal(schema)}),
  -- what is in the schema, and what is part of that: indexes, constraints, defaults, rules, triggers
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

/** The tables of a schema, quoted: they are locked, so that nothing new comes to depend on them meanwhile. */
export const tablesOf = (schema: string): string => `SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ${literal(schema)} AND c.relkind IN ('r', 'p') ORDER BY name`
