-- What administrators did to credits beside the ledger; and whether the ledger still refuses to be changed.
SELECT 'action-is-booked' AS rule, a.admin_action_id::text AS id,
       CASE WHEN a.action IN ('grant', 'adjustment') THEN format('1 row of %s', a.result ->> 'amount') ELSE 'no row' END AS expected,
       format('%s rows of %s', coalesce(t.bookings, 0), coalesce(t.amount, 0)) AS actual
FROM admin_actions AS a
LEFT JOIN (
    SELECT admin_action_id, count(*) AS bookings, sum(CASE WHEN to_bucket = 'available' THEN amount ELSE -amount END) AS amount
    FROM credit_transactions
    WHERE admin_action_id IS NOT NULL
    GROUP BY admin_action_id
) AS t ON t.admin_action_id = a.admin_action_id
WHERE CASE WHEN a.action IN ('grant', 'adjustment') THEN t.bookings IS DISTINCT FROM 1 OR t.amount IS DISTINCT FROM (a.result ->> 'amount')::numeric
           ELSE t.bookings IS NOT NULL END
UNION ALL
SELECT 'ledger-only-grows', c.relname, 'a trigger that refuses UPDATE, DELETE and TRUNCATE', coalesce('disabled: ' || g.tgenabled::text, 'no trigger')
FROM pg_class AS c
LEFT JOIN pg_trigger AS g ON g.tgrelid = c.oid AND g.tgname = c.relname || '_append_only'
WHERE c.oid IN ('credit_transactions'::regclass, 'admin_actions'::regclass) AND g.tgenabled IS DISTINCT FROM 'O' AND g.tgenabled IS DISTINCT FROM 'A'
