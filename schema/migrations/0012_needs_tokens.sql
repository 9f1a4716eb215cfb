-- What a worker's cache had no room for on one plan may fit on a larger one, which keeps less of each token. So what a
-- refusal teaches is kept in tokens, which are the same on every plan, no longer in bytes. Jobs that wait for a larger cache
-- are refused once more, and learn theirs.

ALTER TABLE jobs ADD COLUMN needs_tokens INTEGER NOT NULL DEFAULT 0;  -- room in a cache; 0: no worker has refused it for that
UPDATE jobs SET needs_cache_bytes = 0 WHERE state = 'queued' AND needs_cache_bytes > 0;
