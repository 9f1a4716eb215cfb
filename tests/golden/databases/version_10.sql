-- A database as version 10 left it, as SQLite's shell dumps it: migrations must bring it forward.
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE attempts (
  job_id        INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  attempt       INTEGER NOT NULL,  -- from 1
  worker        TEXT    NOT NULL,
  instance      TEXT    NOT NULL,  -- the worker's process
  started_ms    INTEGER NOT NULL,
  ended_ms      INTEGER,
  outcome       TEXT CHECK (outcome IN ('succeeded', 'failed', 'lost', 'given_back', 'cancelled', 'expired')),
  error_code    TEXT,
  error_message TEXT,
  prefill_ms    REAL,
  decode_ms     REAL,
  prompt_tokens INTEGER,
  output_tokens INTEGER,
  plan          INTEGER, model        TEXT, model_digest TEXT, edition      TEXT, quality      REAL, assigned_plan   INTEGER, why             TEXT, prefill_work_ms REAL, decode_work_ms  REAL, batch           REAL, parts      INTEGER, cut_tokens INTEGER, reused_tokens INTEGER,
  PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;
INSERT INTO attempts VALUES(1,1,'host:7:cpu','f00d',1750000000600,1750000000900,'succeeded',NULL,NULL,12.5,3.25,40,1,1,'tiny','0123456789abcdef0123456789abcdef','ed1',0.97999999999999998223,NULL,NULL,NULL,NULL,NULL,0,0,0);
CREATE TABLE job_counts (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL, bytes INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO job_counts VALUES('cancelled',0,0);
INSERT INTO job_counts VALUES('expired',0,0);
INSERT INTO job_counts VALUES('failed',0,0);
INSERT INTO job_counts VALUES('queued',2,20);
INSERT INTO job_counts VALUES('running',0,0);
INSERT INTO job_counts VALUES('succeeded',1,0);
CREATE TABLE job_inputs (
  job_id      INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  max_tokens  INTEGER NOT NULL,
  temperature REAL    NOT NULL,
  top_p       REAL    NOT NULL,
  seed        INTEGER NOT NULL,  -- the 64 bits of an unsigned number
  document    TEXT    NOT NULL,
  prompt      TEXT    NOT NULL
) STRICT;
INSERT INTO job_inputs VALUES(1,64,0.0,1.0,0,'Ada has the red box.','');
INSERT INTO job_inputs VALUES(2,256,0.69999999999999995559,0.9000000000000000222,-1,'A document.','');
INSERT INTO job_inputs VALUES(3,16,0.0,1.0,0,'Bëa.','');
CREATE TABLE job_labels (
  label  TEXT    NOT NULL,
  job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  PRIMARY KEY (label, job_id)
) STRICT, WITHOUT ROWID;
INSERT INTO job_labels VALUES('nightly',1);
CREATE TABLE job_outputs (
  job_id        INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  number        INTEGER NOT NULL,  -- that of its question, or 0
  text          TEXT    NOT NULL,
  finish_reason TEXT    NOT NULL CHECK (finish_reason IN ('stop', 'length')),
  output_tokens INTEGER NOT NULL, part       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO job_outputs VALUES(1,0,'Ada','stop',1,0);
CREATE TABLE job_questions (
  job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  number   INTEGER NOT NULL,  -- from 0
  question TEXT    NOT NULL,
  PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO job_questions VALUES(1,0,'Who has the red box?');
INSERT INTO job_questions VALUES(3,0,'Who?');
CREATE TABLE jobs (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice
  state           TEXT    NOT NULL DEFAULT 'queued'
                  CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
  task            TEXT    NOT NULL CHECK (task IN ('summarize', 'qa', 'generate')),
  priority        INTEGER NOT NULL,
  custom_id       TEXT    NOT NULL DEFAULT '',
  idempotency_key TEXT    UNIQUE,                     -- NULL: none
  attempt         INTEGER NOT NULL DEFAULT 0,         -- number of the latest lease: fences late results
  failed_attempts INTEGER NOT NULL DEFAULT 0,         -- of them those that count against max_attempts
  max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 1),
  created_ms      INTEGER NOT NULL,
  expires_ms      INTEGER,                            -- NULL: never
  ended_ms        INTEGER,                            -- NULL: not yet
  error_code      TEXT,                               -- of the latest attempt that went wrong
  error_message   TEXT
, client      TEXT    NOT NULL DEFAULT '', model       TEXT    NOT NULL DEFAULT '', deadline_ms INTEGER, due_ms      INTEGER NOT NULL DEFAULT 0, min_quality REAL, max_plan    INTEGER, best_effort INTEGER NOT NULL DEFAULT 0, bytes       INTEGER NOT NULL DEFAULT 0, questions   INTEGER NOT NULL DEFAULT 0, max_tokens  INTEGER NOT NULL DEFAULT 0, needs_context     INTEGER NOT NULL DEFAULT 0, needs_cache_bytes INTEGER NOT NULL DEFAULT 0, upgrade      INTEGER NOT NULL DEFAULT 0, rerun_of     INTEGER REFERENCES jobs (id) ON DELETE CASCADE, rerun_wanted TEXT CHECK (rerun_wanted IN ('upgrade', 'canary')), rerun_model  TEXT, suspect       INTEGER NOT NULL DEFAULT 0, not_before_ms INTEGER, owner     TEXT NOT NULL DEFAULT '', owner_key TEXT, overflow   TEXT    NOT NULL DEFAULT 'error', document   INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO jobs VALUES(1,'succeeded','qa',0,'report-1',NULL,1,0,3,1750000000000,NULL,1750000000900,NULL,NULL,'','',NULL,1750086400000,NULL,NULL,0,0,0,0,0,0,1,NULL,NULL,NULL,0,NULL,'uid:1000','key-1','truncate',0);
INSERT INTO jobs VALUES(2,'queued','summarize',5,'',NULL,0,0,3,1750000001000,NULL,NULL,NULL,NULL,'','',NULL,1750086401000,NULL,NULL,0,11,0,256,0,0,0,NULL,NULL,NULL,1,NULL,'',NULL,'error',0);
INSERT INTO jobs VALUES(3,'queued','qa',0,'',NULL,0,0,3,1750000003000,NULL,NULL,NULL,NULL,'press','',1750000600000,1750000600000,0.96999999999999997335,NULL,0,9,1,16,0,0,0,NULL,NULL,NULL,0,1750000100000,'','key-3','error',0);
CREATE TABLE layer_changes (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ms      INTEGER NOT NULL,
  model_digest TEXT    NOT NULL REFERENCES models (digest) ON DELETE CASCADE,
  layer        INTEGER NOT NULL,
  from_state   TEXT    NOT NULL,
  to_state     TEXT    NOT NULL,
  reason       TEXT    NOT NULL,
  plan         INTEGER NOT NULL,  -- in force afterwards
  worker       TEXT    NOT NULL,
  queued       INTEGER NOT NULL,  -- the load at that moment
  running      INTEGER NOT NULL
) STRICT;
INSERT INTO layer_changes VALUES(1,1750000000500,'0123456789abcdef0123456789abcdef',0,'transformer','active','by hand',1,'host:7:cpu',1,0);
INSERT INTO layer_changes VALUES(2,1750000001500,'0123456789abcdef0123456789abcdef',1,'transformer','distilling','announced by worker host:1:cpu',1,'host:1:cpu',1,0);
CREATE TABLE models (
  digest                  TEXT    PRIMARY KEY,
  name                    TEXT    NOT NULL,
  layers                  INTEGER NOT NULL,
  wanted_plan             INTEGER,                    -- set by hand; workers that join are brought to it
  wanted_allow_undistilled INTEGER NOT NULL DEFAULT 0,
  seen_ms                 INTEGER NOT NULL
, wanted_generation INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO models VALUES('0123456789abcdef0123456789abcdef','tiny',2,1,1,1750000000000,7);
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
INSERT INTO policy_changes VALUES(1,1750000001000,'deadline',0,2,'2 jobs wait',2,400,90000);
INSERT INTO policy_changes VALUES(2,1750000020000,'deadline',2,0,'for 10 s plan 0 was enough',0,0,0);
INSERT INTO policy_changes VALUES(3,1750000030000,'deadline',0,1,'what waits would take 80 s on plan 0, and 58 s now',9,1800,80000);
CREATE TABLE reruns (
  rerun_id     INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  purpose      TEXT    NOT NULL CHECK (purpose IN ('upgrade', 'canary')),
  model_digest TEXT    NOT NULL,
  edition      TEXT    NOT NULL,  -- and plan: of the job's first answers
  plan         INTEGER NOT NULL,
  agreement    REAL,              -- NULL: they were drawn at random
  ended_ms     INTEGER            -- NULL: not yet
) STRICT;
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO settings VALUES('dwell_ms','5000');
INSERT INTO settings VALUES('policy','deadline');
CREATE TABLE workers (
  instance     TEXT    PRIMARY KEY,
  name         TEXT    NOT NULL,
  model_digest TEXT    NOT NULL REFERENCES models (digest) ON DELETE CASCADE,
  edition      TEXT,                -- NULL: no chain
  plan         INTEGER NOT NULL,    -- in force
  connected    INTEGER NOT NULL,
  seen_ms      INTEGER NOT NULL     -- when it connected, or went
) STRICT, WITHOUT ROWID;
INSERT INTO workers VALUES('f0f0','host:1:cpu','0123456789abcdef0123456789abcdef','ed1',1,0,1750000002000);
CREATE TABLE IF NOT EXISTS "layers" (
  model_digest     TEXT    NOT NULL REFERENCES models (digest) ON DELETE CASCADE,
  layer            INTEGER NOT NULL,
  conversion_order INTEGER,  -- NULL: not part of it
  state            TEXT    NOT NULL
                   CHECK (state IN
                          ('transformer', 'planned', 'distilling', 'distilled', 'active', 'reverted', 'failed')),
  distilled        INTEGER NOT NULL,
  entropy          REAL,  -- of the layer's attention in the teacher, nats; NULL: not measured
  kl               REAL,  -- KL(teacher || student) with this layer alone converted, nats a token
  quality          REAL,  -- of the plan that ends with this layer, relative to plan 0
  PRIMARY KEY (model_digest, layer)
) STRICT, WITHOUT ROWID;
INSERT INTO layers VALUES('0123456789abcdef0123456789abcdef',0,0,'distilled',1,4.25,0.005000000000000000104,0.97999999999999998223);
INSERT INTO layers VALUES('0123456789abcdef0123456789abcdef',1,1,'planned',0,NULL,NULL,NULL);
CREATE TABLE IF NOT EXISTS "worker_layers" (
  instance TEXT    NOT NULL REFERENCES workers (instance) ON DELETE CASCADE,
  layer    INTEGER NOT NULL,
  state    TEXT    NOT NULL
           CHECK (state IN ('transformer', 'planned', 'distilling', 'distilled', 'active', 'reverted', 'failed')),
  PRIMARY KEY (instance, layer)
) STRICT, WITHOUT ROWID;
INSERT INTO worker_layers VALUES('f0f0',0,'distilled');
INSERT INTO worker_layers VALUES('f0f0',1,'planned');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('jobs',3);
INSERT INTO sqlite_sequence VALUES('layer_changes',2);
INSERT INTO sqlite_sequence VALUES('policy_changes',3);
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_expiry ON jobs (expires_ms) WHERE expires_ms IS NOT NULL AND state IN ('queued', 'running');
CREATE INDEX layer_changes_layer ON layer_changes (model_digest, layer, id);
CREATE VIEW conversion_events AS
SELECT c.id, strftime('%Y-%m-%dT%H:%M:%fZ', c.time_ms / 1000.0, 'unixepoch') AS at, m.name AS model, c.layer,
       c.from_state, c.to_state, c.reason, c.plan, c.worker, c.queued, c.running, c.model_digest
FROM layer_changes c JOIN models m ON m.digest = c.model_digest;
CREATE VIEW worker_status AS
SELECT w.instance, w.name, m.name AS model, w.model_digest, w.edition, w.plan, w.connected,
       strftime('%Y-%m-%dT%H:%M:%fZ', w.seen_ms / 1000.0, 'unixepoch') AS seen_at
FROM workers w JOIN models m ON m.digest = w.model_digest;
CREATE VIEW policy_events AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS at, policy, from_plan, to_plan, why,
       waiting_jobs, waiting_tokens, drain_ms
FROM policy_changes;
CREATE INDEX jobs_reruns_queued ON jobs (model, id) WHERE state = 'queued' AND rerun_of IS NOT NULL;
CREATE INDEX jobs_reruns ON jobs (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX jobs_rerun_wanted ON jobs (rerun_model, rerun_wanted DESC, id) WHERE rerun_wanted IS NOT NULL;
CREATE INDEX reruns_plan ON reruns (model_digest, edition, plan, rerun_id) WHERE agreement IS NOT NULL;
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
CREATE INDEX jobs_queue ON jobs (model, priority DESC, due_ms, id)
  WHERE state = 'queued' AND rerun_of IS NULL AND not_before_ms IS NULL;
CREATE INDEX jobs_not_before ON jobs (not_before_ms) WHERE not_before_ms IS NOT NULL AND state = 'queued';
CREATE INDEX jobs_ended ON jobs (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX job_labels_job ON job_labels (job_id, label);
CREATE INDEX jobs_client ON jobs (client, id);
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
CREATE UNIQUE INDEX jobs_owner_key ON jobs (owner, owner_key) WHERE owner_key IS NOT NULL;
CREATE INDEX jobs_owner ON jobs (owner, id) WHERE rerun_of IS NULL;
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
CREATE VIEW job_results AS
SELECT o.job_id AS id, o.number, q.question, o.text, o.finish_reason, o.output_tokens, o.part
FROM job_outputs o JOIN jobs j ON j.id = o.job_id AND j.rerun_of IS NULL
LEFT JOIN job_questions q ON q.job_id = o.job_id AND q.number = o.number;
CREATE VIEW job_metrics AS
SELECT j.id, j.task, j.state, a.attempt, a.worker, a.plan,
       max(a.started_ms - j.created_ms, 0) AS queue_ms, a.prefill_ms, a.decode_ms,
       max(a.ended_ms - j.created_ms, 0) AS total_ms, a.prompt_tokens, a.output_tokens,
       a.model, a.model_digest, a.edition, a.quality, a.why,
       a.prefill_work_ms, a.decode_work_ms, a.batch, a.parts, a.cut_tokens, a.reused_tokens
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.rerun_of IS NULL;
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
COMMIT;
PRAGMA user_version = 10;
PRAGMA foreign_keys = ON;
