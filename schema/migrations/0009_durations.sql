-- No duration is negative, as version 6 had it and version 8 had not.
DROP VIEW job_metrics;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       max(a.started_ms - j.created_ms, 0) AS queue_ms, a.prefill_ms, a.decode_ms,
       max(a.ended_ms - j.created_ms, 0) AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality, a.why,
       a.prefill_work_ms, a.decode_work_ms, a.batch, a.parts, a.cut_tokens, a.reused_tokens
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;

-- A plan is in force with a worker, not with a model.
ALTER TABLE models DROP COLUMN plan;
