-- A layer that a worker is to distil and has not begun is `planned`: both tables have one state more. The view is what it
-- was.

DROP VIEW layer_status;

CREATE TABLE new_layers (
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
INSERT INTO new_layers (model_digest, layer, conversion_order, state, distilled, entropy, kl, quality)
SELECT model_digest, layer, conversion_order, state, distilled, entropy, kl, quality FROM layers;
DROP TABLE layers;
ALTER TABLE new_layers RENAME TO layers;

CREATE TABLE new_worker_layers (
  instance TEXT    NOT NULL REFERENCES workers (instance) ON DELETE CASCADE,
  layer    INTEGER NOT NULL,
  state    TEXT    NOT NULL
           CHECK (state IN ('transformer', 'planned', 'distilling', 'distilled', 'active', 'reverted', 'failed')),
  PRIMARY KEY (instance, layer)
) STRICT, WITHOUT ROWID;
INSERT INTO new_worker_layers (instance, layer, state) SELECT instance, layer, state FROM worker_layers;
DROP TABLE worker_layers;
ALTER TABLE new_worker_layers RENAME TO worker_layers;

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
