"""What a training step sees: short logbooks first, long ones last."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    steps: int
    tokens: tuple  # shortest and longest document
    documents: int  # in a batch
    questions: int  # of a document, at most
    stretch: float  # share of the batches whose positions have gaps


STAGES = (
    Stage(600, (110, 130), 12, 12, 0.0),
    Stage(1500, (110, 220), 10, 14, 0.0),
    Stage(1000, (150, 400), 12, 20, 0.3),
    Stage(800, (300, 1000), 5, 24, 0.5),
    Stage(500, (800, 2000), 2, 32, 0.5),
    Stage(200, (2000, 7600), 1, 38, 0.0),
)
TOTAL_STEPS = sum(stage.steps for stage in STAGES)
WARM_UP_STEPS = 150
DECAY_STEPS = 700  # the last ones: cosine down to a twentieth


def stage_of(step):
    for stage in STAGES:
        if step < stage.steps:
            return stage
        step -= stage.steps
    raise ValueError("the curriculum is over")


def batch_of(corpus, step):
    """The samples of a step: the same for every run with the corpus' seed."""
    stage = stage_of(step)
    rng = random.Random(f"batch-{corpus.seed}-{step}")
    tokens = rng.randint(*stage.tokens)  # equal lengths in a batch waste no padding
    stretch = rng.random() < stage.stretch
    samples = [
        corpus.sample(f"{step}-{i}", tokens, stage.questions, stretch) for i in range(stage.documents)
    ]
    if stage.documents >= 4 and rng.random() < 0.5:
        samples[0] = corpus.prose_sample(f"{step}-prose", tokens)
    return samples
