-- Each model has a plan in force of its own, so that a change of one names the model. Changes from before are those of the
-- model where only one was ever known, else nobody's. The index finds the latest of each model, with which the daemon
-- goes on after a restart.

ALTER TABLE policy_changes ADD COLUMN model_digest TEXT NOT NULL DEFAULT '';
UPDATE policy_changes SET model_digest = (SELECT digest FROM models) WHERE (SELECT count(*) FROM models) = 1;
CREATE INDEX policy_changes_by_model ON policy_changes (model_digest);

DROP VIEW policy_events;
CREATE VIEW policy_events AS
SELECT c.id, strftime('%Y-%m-%dT%H:%M:%fZ', c.time_ms / 1000.0, 'unixepoch') AS at, c.policy, c.from_plan, c.to_plan, c.why,
       c.waiting_jobs, c.waiting_tokens, c.drain_ms, m.name AS model, nullif(c.model_digest, '') AS model_digest
FROM policy_changes c LEFT JOIN models m ON m.digest = c.model_digest;
