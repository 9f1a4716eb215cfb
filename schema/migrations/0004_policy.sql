-- What a job asks of its plan, what the conversion policy decided, and which worker runs which plan.
--
-- Jobs of before this migration have no terms: any model, no deadline, no floor of their own. Plans and active layers
-- belonged to a model and belong to its workers now: `layers` keeps what the chain says, and a layer is active where
-- a connected worker says so. Settings of the policy are absent until someone sets them.

ALTER TABLE jobs ADD COLUMN client      TEXT    NOT NULL DEFAULT '';  -- for whom, as the submit says
ALTER TABLE jobs ADD COLUMN model       TEXT    NOT NULL DEFAULT '';  -- name or digest of who must answer; '': any
ALTER TABLE jobs ADD COLUMN deadline_ms INTEGER;                      -- NULL: none
ALTER TABLE jobs ADD COLUMN due_ms      INTEGER NOT NULL DEFAULT 0;   -- its turn among equals: deadline, or a day
ALTER TABLE jobs ADD COLUMN min_quality REAL;                         -- of the plan, relative to plan 0; NULL: none
ALTER TABLE jobs ADD COLUMN max_plan    INTEGER;                      -- NULL: none
ALTER TABLE jobs ADD COLUMN best_effort INTEGER NOT NULL DEFAULT 0;   -- taken though the deadline cannot be met
ALTER TABLE jobs ADD COLUMN bytes       INTEGER NOT NULL DEFAULT 0;   -- of document, prompt and questions
ALTER TABLE jobs ADD COLUMN questions   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN max_tokens  INTEGER NOT NULL DEFAULT 0;   -- of each answer
ALTER TABLE jobs ADD COLUMN needs_context     INTEGER NOT NULL DEFAULT 0;  -- a worker with less has refused it
ALTER TABLE jobs ADD COLUMN needs_cache_bytes INTEGER NOT NULL DEFAULT 0;  -- likewise

UPDATE jobs SET due_ms = created_ms + 86400000;
UPDATE jobs SET
  questions = (SELECT count(*) FROM job_questions q WHERE q.job_id = jobs.id),
  max_tokens = coalesce((SELECT i.max_tokens FROM job_inputs i WHERE i.job_id = jobs.id), 0),
  bytes = coalesce((SELECT length(CAST(i.document AS BLOB)) + length(CAST(i.prompt AS BLOB))
                    FROM job_inputs i WHERE i.job_id = jobs.id), 0)
        + coalesce((SELECT sum(length(CAST(q.question AS BLOB))) FROM job_questions q WHERE q.job_id = jobs.id), 0)
WHERE state IN ('queued', 'running');

-- By model first: a worker reads the heads of the queues that it serves, however long the others are.
DROP INDEX jobs_queue;
CREATE INDEX jobs_queue ON jobs (model, priority DESC, due_ms, id) WHERE state = 'queued';

ALTER TABLE attempts ADD COLUMN assigned_plan   INTEGER;  -- that the worker was told; NULL: the one in force
ALTER TABLE attempts ADD COLUMN why             TEXT;     -- what decided about it
ALTER TABLE attempts ADD COLUMN prefill_work_ms REAL;     -- its share of the engine's time
ALTER TABLE attempts ADD COLUMN decode_work_ms  REAL;
ALTER TABLE attempts ADD COLUMN batch           REAL;     -- sequences in a step of its decoding, on average

-- Workers that are connected, and those that were, as they last said.
CREATE TABLE workers (
  instance     TEXT    PRIMARY KEY,
  name         TEXT    NOT NULL,
  model_digest TEXT    NOT NULL REFERENCES models (digest) ON DELETE CASCADE,
  edition      TEXT,                -- NULL: no chain
  plan         INTEGER NOT NULL,    -- in force
  connected    INTEGER NOT NULL,
  seen_ms      INTEGER NOT NULL     -- when it connected, or went
) STRICT, WITHOUT ROWID;

CREATE TABLE worker_layers (
  instance TEXT    NOT NULL REFERENCES workers (instance) ON DELETE CASCADE,
  layer    INTEGER NOT NULL,
  state    TEXT    NOT NULL
           CHECK (state IN ('transformer', 'distilling', 'distilled', 'active', 'reverted', 'failed')),
  PRIMARY KEY (instance, layer)
) STRICT, WITHOUT ROWID;

UPDATE layers SET state = iif(distilled, 'distilled', 'transformer') WHERE state IN ('active', 'reverted');

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE policy_changes (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ms        INTEGER NOT NULL,
  policy         TEXT    NOT NULL,
  from_plan      INTEGER NOT NULL,
  to_plan        INTEGER NOT NULL,
  why            TEXT    NOT NULL,
  waiting_jobs   INTEGER NOT NULL,
  waiting_tokens INTEGER NOT NULL,  -- of prompts, predicted
  drain_ms       INTEGER NOT NULL   -- predicted
) STRICT;

DROP VIEW job_status;
CREATE VIEW job_status AS
SELECT j.id, j.custom_id, j.task, j.state, j.priority, j.attempt, j.max_attempts, a.worker,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.created_ms / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_ms / 1000.0, 'unixepoch') AS started_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.ended_ms / 1000.0, 'unixepoch') AS ended_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.expires_ms / 1000.0, 'unixepoch') AS expires_at,
       j.error_code, j.error_message, j.idempotency_key, j.client, j.model,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.deadline_ms / 1000.0, 'unixepoch') AS deadline_at,
       j.min_quality, j.max_plan, j.bytes, j.questions, j.max_tokens
FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt;

DROP VIEW job_metrics;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       a.started_ms - j.created_ms AS queue_ms, a.prefill_ms, a.decode_ms,
       a.ended_ms - j.created_ms AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality, a.why,
       a.prefill_work_ms, a.decode_work_ms, a.batch
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt;

CREATE VIEW worker_status AS
SELECT w.instance, w.name, m.name AS model, w.model_digest, w.edition, w.plan, w.connected,
       strftime('%Y-%m-%dT%H:%M:%fZ', w.seen_ms / 1000.0, 'unixepoch') AS seen_at
FROM workers w JOIN models m ON m.digest = w.model_digest;

DROP VIEW layer_status;
CREATE VIEW layer_status AS
SELECT m.name AS model, l.layer, l.conversion_order,
       CASE WHEN EXISTS (SELECT 1 FROM workers w JOIN worker_layers x ON x.instance = w.instance
                         WHERE w.model_digest = l.model_digest AND w.connected AND x.layer = l.layer
                           AND x.state = 'active') THEN 'active'
            WHEN EXISTS (SELECT 1 FROM workers w JOIN worker_layers x ON x.instance = w.instance
                         WHERE w.model_digest = l.model_digest AND w.connected AND x.layer = l.layer
                           AND x.state = 'reverted') THEN 'reverted'
            ELSE l.state END AS state,
       l.distilled,
       coalesce((SELECT max(w.plan) FROM workers w WHERE w.model_digest = l.model_digest AND w.connected), 0)
         AS plan,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.time_ms / 1000.0, 'unixepoch') AS changed_at, c.reason,
       m.digest AS model_digest, l.entropy, l.kl, l.quality,
       (SELECT count(*) FROM workers w JOIN worker_layers x ON x.instance = w.instance
        WHERE w.model_digest = l.model_digest AND w.connected AND x.layer = l.layer AND x.state = 'active')
         AS workers_active
FROM layers l
JOIN models m ON m.digest = l.model_digest
LEFT JOIN layer_changes c ON c.id = (SELECT max(id) FROM layer_changes
                                     WHERE model_digest = l.model_digest AND layer = l.layer);

CREATE VIEW policy_events AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS at, policy, from_plan, to_plan, why,
       waiting_jobs, waiting_tokens, drain_ms
FROM policy_changes;
