-- A session keeps the trace context of the request that made it, so that whatever happens to it later (a timer, a callback, a cancel, a
-- dead worker, a deadline) continues that request's trace. Null for sessions of before, and of the release before: both are continued
-- by what their outbox rows carry, as they were.
-- A W3C traceparent of version 00, the only one there is, has 55 characters. The bound leaves room for the next one and none for anything else.
ALTER TABLE generation_sessions
    ADD COLUMN traceparent text CONSTRAINT a_traceparent_is_short CHECK (length(traceparent) BETWEEN 55 AND 128);
