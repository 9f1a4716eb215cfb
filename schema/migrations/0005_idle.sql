-- Jobs that were answered on another plan are run again on plan 0 when there is nothing else to do: where they asked
-- for it, and a share of the others to see what their plans are worth.
--
-- A rerun is a row of `jobs` with leases and attempts of its own; its texts are those of the job that it repeats. Views and
-- counts show users' jobs alone, as before; job_reruns shows the others. Jobs of before have asked for nothing.

ALTER TABLE jobs ADD COLUMN upgrade      INTEGER NOT NULL DEFAULT 0;  -- asked for
ALTER TABLE jobs ADD COLUMN rerun_of     INTEGER REFERENCES jobs (id) ON DELETE CASCADE;  -- NULL: a user's job
ALTER TABLE jobs ADD COLUMN rerun_wanted TEXT CHECK (rerun_wanted IN ('upgrade', 'canary'));  -- NULL: no, or begun
ALTER TABLE jobs ADD COLUMN rerun_model  TEXT;  -- digest of the model that must do it, while it is wanted

DROP INDEX jobs_queue;
CREATE INDEX jobs_queue ON jobs (model, priority DESC, due_ms, id) WHERE state = 'queued' AND rerun_of IS NULL;
CREATE INDEX jobs_reruns_queued ON jobs (model, id) WHERE state = 'queued' AND rerun_of IS NOT NULL;
CREATE INDEX jobs_reruns ON jobs (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX jobs_rerun_wanted ON jobs (rerun_model, rerun_wanted DESC, id) WHERE rerun_wanted IS NOT NULL;

DROP TRIGGER jobs_count_insert;
DROP TRIGGER jobs_count_update;
DROP TRIGGER jobs_count_delete;
CREATE TRIGGER jobs_count_insert AFTER INSERT ON jobs WHEN new.rerun_of IS NULL BEGIN
  UPDATE job_counts SET jobs = jobs + 1 WHERE state = new.state;
END;
CREATE TRIGGER jobs_count_update AFTER UPDATE OF state ON jobs WHEN old.state <> new.state AND new.rerun_of IS NULL BEGIN
  UPDATE job_counts SET jobs = jobs - 1 WHERE state = old.state;
  UPDATE job_counts SET jobs = jobs + 1 WHERE state = new.state;
END;
CREATE TRIGGER jobs_count_delete AFTER DELETE ON jobs WHEN old.rerun_of IS NULL BEGIN
  UPDATE job_counts SET jobs = jobs - 1 WHERE state = old.state;
END;

-- One row a rerun that has succeeded: how far the job's answers agree with those of plan 0.
CREATE TABLE reruns (
  rerun_id     INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  purpose      TEXT    NOT NULL CHECK (purpose IN ('upgrade', 'canary')),
  model_digest TEXT    NOT NULL,
  edition      TEXT    NOT NULL,  -- and plan: of the job's first answers
  plan         INTEGER NOT NULL,
  agreement    REAL,              -- NULL: they were drawn at random
  ended_ms     INTEGER            -- NULL: not yet
) STRICT;
CREATE INDEX reruns_plan ON reruns (model_digest, edition, plan, rerun_id) WHERE agreement IS NOT NULL;

DROP VIEW job_status;
CREATE VIEW job_status AS
SELECT j.id, j.custom_id, j.task, j.state, j.priority, j.attempt, j.max_attempts, a.worker,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.created_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.expires_ms / 1000.0, 'unixepoch') AS expires_at,
       j.error_code, j.error_message, j.idempotency_key, j.client, j.model,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.deadline_ms / 1000.0, 'unixepoch') AS deadline_at,
       j.min_quality, j.max_plan, j.bytes, j.questions, j.max_tokens, j.upgrade
FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

DROP VIEW job_metrics;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       a.started_ms - j.created_ms AS queue_ms, a.prefill_ms, a.decode_ms,
       a.ended_ms - j.created_ms AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality, a.why,
       a.prefill_work_ms, a.decode_work_ms, a.batch
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

DROP VIEW job_results;
CREATE VIEW job_results AS
SELECT o.job_id AS id, o.number, q.question, o.text, o.finish_reason, o.output_tokens
FROM job_outputs o JOIN jobs j ON j.id = o.job_id AND j.rerun_of IS NULL
LEFT JOIN job_questions q ON q.job_id = o.job_id AND q.number = o.number;

DROP VIEW job_attempts;
CREATE VIEW job_attempts AS
SELECT a.job_id AS id, a.attempt, a.worker, a.outcome,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       a.error_code, a.error_message, a.model, a.model_digest, a.instance
FROM attempts a JOIN jobs j ON j.id = a.job_id AND j.rerun_of IS NULL;

CREATE VIEW job_reruns AS
SELECT j.rerun_of AS id, r.purpose, j.state, r.plan AS first_plan, r.edition AS first_edition, r.agreement,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.created_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       a.worker, a.plan, a.prefill_work_ms, a.decode_work_ms, j.error_message, j.id AS rerun_id
FROM jobs j JOIN reruns r ON r.rerun_id = j.id
LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt;
