-- What the conversion chain says of each layer (docs/formats.md). Layers announced before this migration have
-- NULL until their worker says hello again.

ALTER TABLE layers ADD COLUMN entropy REAL;  -- of the layer's attention in the teacher, nats; NULL: not measured
ALTER TABLE layers ADD COLUMN kl      REAL;  -- KL(teacher || student) with this layer alone converted, nats a token
ALTER TABLE layers ADD COLUMN quality REAL;  -- of the plan that ends with this layer, relative to plan 0

DROP VIEW layer_status;
CREATE VIEW layer_status AS
SELECT m.name AS model, l.layer, l.conversion_order, l.state, l.distilled, m.plan,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.time_ms / 1000.0, 'unixepoch') AS changed_at, c.reason,
       m.digest AS model_digest, l.entropy, l.kl, l.quality
FROM layers l
JOIN models m ON m.digest = l.model_digest
LEFT JOIN layer_changes c ON c.id = (SELECT max(id) FROM layer_changes
                                     WHERE model_digest = l.model_digest AND layer = l.layer);
