-- A scheduled wake-up is a timer and an object without a row is orphaned (docs/glossary.md): the names follow. Renaming neither scans nor rewrites.
ALTER TABLE generation_sessions RENAME CONSTRAINT waiting_has_an_alarm TO waiting_has_a_timer;
ALTER INDEX generation_sessions_leftovers RENAME TO generation_sessions_orphans;
