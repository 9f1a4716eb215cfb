-- Documents beyond a model's context: what shall become of them, and what did. And which have the
-- same document, so that who has read it for one gets the others; and what of a prompt was read before.

ALTER TABLE jobs        ADD COLUMN overflow   TEXT    NOT NULL DEFAULT 'error';  -- error, truncate, map-reduce
ALTER TABLE jobs        ADD COLUMN document   INTEGER NOT NULL DEFAULT 0;  -- half of its document's XXH3; 0: it has none, or is from before
ALTER TABLE job_outputs ADD COLUMN part       INTEGER NOT NULL DEFAULT 0;  -- that gave the answer, from 1; 0: none did alone
ALTER TABLE attempts    ADD COLUMN parts      INTEGER;  -- that the document was read in; 0: in one
ALTER TABLE attempts    ADD COLUMN cut_tokens INTEGER;  -- of the document, that were left out
ALTER TABLE attempts    ADD COLUMN reused_tokens INTEGER;  -- of the prompt, that the worker had read before

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
       (SELECT group_concat(label, ' ') FROM job_labels l WHERE l.job_id = j.id) AS labels, j.owner, j.overflow
FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

DROP VIEW job_metrics;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       a.started_ms - j.created_ms AS queue_ms, a.prefill_ms, a.decode_ms,
       a.ended_ms - j.created_ms AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality, a.why,
       a.prefill_work_ms, a.decode_work_ms, a.batch, a.parts, a.cut_tokens, a.reused_tokens
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

DROP VIEW job_results;
CREATE VIEW job_results AS
SELECT o.job_id AS id, o.number, q.question, o.text, o.finish_reason, o.output_tokens, o.part
FROM job_outputs o JOIN jobs j ON j.id = o.job_id AND j.rerun_of IS NULL
LEFT JOIN job_questions q ON q.job_id = o.job_id AND q.number = o.number;
