-- $1 users with a key and one lot each, as they are after their first purchase. User n has the key gk_bench_<n in five digits>;
-- the id of user and lot can be made from n, so that a pgbench script finds them without a query.
WITH person AS MATERIALIZED (
    SELECT n, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid AS user_id, 1000000000000::bigint AS credits
    FROM generate_series(1, $1::integer) AS n
),
login AS (
    INSERT INTO users (user_id, handle, role)
    SELECT user_id, 'bench-' || n, 'user' FROM person
),
key AS (
    INSERT INTO api_keys (key_hash, user_id, name)
    SELECT sha256(convert_to('gk_bench_' || lpad(n::text, 5, '0'), 'UTF8')), user_id, 'benchmark' FROM person
),
account AS (
    INSERT INTO credit_accounts (user_id, available)
    SELECT user_id, credits FROM person
),
lot AS (
    INSERT INTO credit_lots (lot_id, user_id, kind, granted, available, reference, reason)
    SELECT user_id, user_id, 'purchase', credits, credits, 'opening', 'opening balance' FROM person
)
INSERT INTO credit_transactions (user_id, type, from_bucket, to_bucket, amount, available_after, reserved_after, lot_id)
SELECT user_id, 'purchase', 'external', 'available', credits, credits, 0, user_id
FROM person
