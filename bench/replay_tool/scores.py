"""SQuAD's scores of an answer, as worker/eval/squad.h defines them: exact match and F1 of shared words."""

import collections
import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal_words(text: str) -> list[str]:
    """Lower case, without ASCII punctuation and articles."""
    plain = text.lower().translate(_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def exact_match(answer: str, reference: str) -> float:
    """0 or 1."""
    return float(normal_words(answer) == normal_words(reference))


def f1(answer: str, reference: str) -> float:
    """From 0 to 1."""
    found, expected = normal_words(answer), normal_words(reference)
    if not found or not expected:
        return float(found == expected)
    shared = sum((collections.Counter(found) & collections.Counter(expected)).values())
    return 2 * shared / (len(found) + len(expected))


def mean_score(score, answers: list[str], references: tuple[str, ...]) -> float:
    """The mean over a job's answers; one that is missing counts 0."""
    return sum(score(answer, reference) for answer, reference in zip(answers, references)) / len(references)
