"""What a training step sees: short logbooks first, long ones last."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import drills


@dataclass(frozen=True)
class Stage:
    steps: int
    tokens: tuple  # shortest and longest document
    documents: int  # in a batch
    questions: int = 0  # of a document, at most
    stretch: float = 0.0  # share of the batches whose positions have gaps
    recite: float = 0.0  # share of the documents whose entries are repeated
    drill: Callable | None = None  # instead of logbooks
    rate: float = 2e-3  # learning rate


# The shipped model's run. Until step 2400 its logbooks had other sentences ("The keeper of Delta is Zoe.") and
# its answers were bare values; the stages from 800 to 2500 taught little and are kept because they were run.
STAGES = (
    Stage(800, (20, 60), 24, drill=drills.copying),
    Stage(400, (110, 130), 10, 12, 0.0, 0.4),
    Stage(400, (110, 200), 10, 14, 0.0, 0.2),
    Stage(100, (150, 400), 10, 20, 0.3, 0.05),
    Stage(200, (180, 400), 5, 24, 0.2, 0.05),
    Stage(200, (30, 140), 16, drill=drills.facts),
    Stage(400, (30, 80), 16, drill=drills.facts, rate=4e-3),
    Stage(100, (30, 80), 16, drill=drills.facts, rate=4e-3),
    Stage(120, (180, 400), 5, 20, 0.3, rate=3e-3),
    Stage(200, (300, 1000), 3, 24, 0.5),
    Stage(120, (800, 2000), 2, 24, 0.5),
    Stage(110, (2000, 7600), 1, 30),
)
TOTAL_STEPS = sum(stage.steps for stage in STAGES)
WARM_UP_STEPS = 150
DECAY_STEPS = 200  # the last ones: cosine down to a twentieth


def stage_of(step):
    for stage in STAGES:
        if step < stage.steps:
            return stage
        step -= stage.steps
    raise ValueError("the curriculum is over")


def batch_of(corpus, step):
    """The samples of a step: the same for every run with the corpus' seed."""
    stage = stage_of(step)
    if stage.drill:
        return [corpus.drill_sample(f"{step}-{i}", stage.drill, step) for i in range(stage.documents)]
    rng = random.Random(f"batch-{corpus.seed}-{step}")
    tokens = rng.randint(*stage.tokens)  # equal lengths in a batch waste no padding
    stretch = rng.random() < stage.stretch
    samples = [
        corpus.sample(f"{step}-{i}", tokens, stage.questions, stretch, rng.random() < stage.recite)
        for i in range(stage.documents)
    ]
    if stage.documents >= 4 and rng.random() < 0.5:
        samples[0] = corpus.prose_sample(f"{step}-prose", tokens)
    return samples
