-- How much was looked at.
SELECT (SELECT count(*) FROM users),
       (SELECT count(*) FROM generation_sessions),
       (SELECT count(*) FROM credit_reservations),
       (SELECT count(*) FROM credit_transactions),
       (SELECT count(*) FROM media)
