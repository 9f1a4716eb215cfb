-- What wrote an answer: model, edition of its conversion chain, quality of the plan. And the generation of the plan
-- that is wanted. Attempts of before this migration have NULL; plans set before it have generation 0.

ALTER TABLE attempts ADD COLUMN model        TEXT;  -- name of the worker's model when it got the job
ALTER TABLE attempts ADD COLUMN model_digest TEXT;
ALTER TABLE attempts ADD COLUMN edition      TEXT;  -- digest of chain.json; NULL: no chain, or no result
ALTER TABLE attempts ADD COLUMN quality      REAL;  -- of the plan, relative to plan 0; NULL: not measured

ALTER TABLE models ADD COLUMN wanted_generation INTEGER NOT NULL DEFAULT 0;  -- of wanted_plan; only ever grows

DROP VIEW job_metrics;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       a.started_ms - j.created_ms AS queue_ms, a.prefill_ms, a.decode_ms,
       a.ended_ms - j.created_ms AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt;

DROP VIEW job_attempts;
CREATE VIEW job_attempts AS
SELECT a.job_id AS id, a.attempt, a.worker, a.outcome,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       a.error_code, a.error_message, a.model, a.model_digest, a.instance
FROM attempts a;
