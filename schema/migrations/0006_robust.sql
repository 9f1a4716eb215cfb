-- Who is to blame when a worker dies, jobs that begin later, labels, and old jobs that are forgotten.
--
-- Jobs of before are under no suspicion, wait for no time and have no labels. `settings` may hold the queue's mode.

ALTER TABLE jobs ADD COLUMN suspect       INTEGER NOT NULL DEFAULT 0;  -- a worker died with it and others: runs alone
ALTER TABLE jobs ADD COLUMN not_before_ms INTEGER;  -- NULL: its turn may come; set back to NULL when the time comes

DROP INDEX jobs_queue;
CREATE INDEX jobs_queue ON jobs (model, priority DESC, due_ms, id)
  WHERE state = 'queued' AND rerun_of IS NULL AND not_before_ms IS NULL;
CREATE INDEX jobs_not_before ON jobs (not_before_ms) WHERE not_before_ms IS NOT NULL AND state = 'queued';
CREATE INDEX jobs_ended ON jobs (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE job_labels (
  label  TEXT    NOT NULL,
  job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  PRIMARY KEY (label, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_labels_job ON job_labels (job_id, label);
CREATE INDEX jobs_client ON jobs (client, id);

DROP VIEW job_status;
CREATE VIEW job_status AS
SELECT j.id, j.custom_id, j.task, j.state, j.priority, j.attempt, j.max_attempts, a.worker,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.created_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.expires_ms / 1000.0, 'unixepoch') AS expires_at,
       j.error_code, j.error_message, j.idempotency_key, j.client, j.model,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.deadline_ms / 1000.0, 'unixepoch') AS deadline_at,
       j.min_quality, j.max_plan, j.bytes, j.questions, j.max_tokens, j.upgrade,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.not_before_ms / 1000.0, 'unixepoch') AS not_before_at, j.suspect,
       (SELECT group_concat(label, ' ') FROM job_labels l WHERE l.job_id = j.id) AS labels
FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

-- A clock that is set back by less than a second is not followed: no duration is negative all the same.
DROP VIEW job_metrics;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       max(a.started_ms - j.created_ms, 0) AS queue_ms, a.prefill_ms, a.decode_ms,
       max(a.ended_ms - j.created_ms, 0) AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality, a.why,
       a.prefill_work_ms, a.decode_work_ms, a.batch
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

-- Bytes beside the number of jobs: what waits takes room on the disk.
ALTER TABLE job_counts ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE job_counts SET bytes =
  coalesce((SELECT sum(bytes) FROM jobs WHERE jobs.state = job_counts.state AND rerun_of IS NULL), 0);

DROP TRIGGER jobs_count_insert;
DROP TRIGGER jobs_count_update;
DROP TRIGGER jobs_count_delete;
CREATE TRIGGER jobs_count_insert AFTER INSERT ON jobs WHEN new.rerun_of IS NULL BEGIN
  UPDATE job_counts SET jobs = jobs + 1, bytes = bytes + new.bytes WHERE state = new.state;
END;
CREATE TRIGGER jobs_count_update AFTER UPDATE OF state ON jobs WHEN old.state <> new.state AND new.rerun_of IS NULL BEGIN
  UPDATE job_counts SET jobs = jobs - 1, bytes = bytes - old.bytes WHERE state = old.state;
  UPDATE job_counts SET jobs = jobs + 1, bytes = bytes + new.bytes WHERE state = new.state;
END;
CREATE TRIGGER jobs_count_delete AFTER DELETE ON jobs WHEN old.rerun_of IS NULL BEGIN
  UPDATE job_counts SET jobs = jobs - 1, bytes = bytes - old.bytes WHERE state = old.state;
END;
