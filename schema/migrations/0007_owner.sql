-- Every job has an owner, who alone sees it beside those with the roles read and admin, and idempotency keys are the
-- owner's own.
--
-- Jobs of before are nobody's ('' as the owner): who submits one of their keys again, with the same content, becomes
-- the owner. Keys move to a column of their own, because the old one is unique over all owners and cannot be dropped;
-- `idempotency_key` of `jobs` is NULL from now on, that of job_status stays what it was.

ALTER TABLE jobs ADD COLUMN owner     TEXT NOT NULL DEFAULT '';  -- 'uid:1000', 'key:alice'; '': nobody's
ALTER TABLE jobs ADD COLUMN owner_key TEXT;                      -- the idempotency key, the owner's own; NULL: none

UPDATE jobs SET owner_key = idempotency_key, idempotency_key = NULL WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_owner_key ON jobs (owner, owner_key) WHERE owner_key IS NOT NULL;
CREATE INDEX jobs_owner ON jobs (owner, id) WHERE rerun_of IS NULL;

DROP VIEW job_status;
CREATE VIEW job_status AS
SELECT j.id, j.custom_id, j.task, j.state, j.priority, j.attempt, j.max_attempts, a.worker,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.created_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.expires_ms / 1000.0, 'unixepoch') AS expires_at,
       j.error_code, j.error_message, j.owner_key AS idempotency_key, j.client, j.model,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.deadline_ms / 1000.0, 'unixepoch') AS deadline_at,
       j.min_quality, j.max_plan, j.bytes, j.questions, j.max_tokens, j.upgrade,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.not_before_ms / 1000.0, 'unixepoch') AS not_before_at, j.suspect,
       (SELECT group_concat(label, ' ') FROM job_labels l WHERE l.job_id = j.id) AS labels, j.owner
FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;
