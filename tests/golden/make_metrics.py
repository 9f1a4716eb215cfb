"""Writes metrics/metrics.json: scores by rouge-score and by SQuAD's evaluation script, of made-up answers.

    python3 -m venv venv && venv/bin/pip install rouge-score==0.1.2
    venv/bin/python make_metrics.py
"""

import collections
import json
import random
import re
import string
from pathlib import Path

from rouge_score import rouge_scorer

# From here to squad(): the formulas of SQuAD's evaluate-v2.0.py (https://rajpurkar.github.io/SQuAD-explorer/).


def normalize_answer(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact(gold, found):
    return int(normalize_answer(gold) == normalize_answer(found))


def f1(gold, found):
    gold, found = normalize_answer(gold).split(), normalize_answer(found).split()
    if not gold or not found:
        return int(gold == found)
    same = sum((collections.Counter(gold) & collections.Counter(found)).values())
    if same == 0:
        return 0
    precision, recall = same / len(found), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def squad(answers, found):
    golds = [answer for answer in answers if normalize_answer(answer)] or [""]
    return max(exact(gold, found) for gold in golds), max(f1(gold, found) for gold in golds)


def rouge(references, found):
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    scores = scorer.score_multi(references, found)
    return [scores[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")]


WORDS = """a an the The A. theatre Anna at 10th 10 1,000 U.S.A. it's don't well-known (yes) café Ünal Straße ÉCOLE naïve
the—house “the” ‘a’ x²  ² Ωmega 東京 K. end. keeper of Delta Zoe Zoe. zoe the_end _ $5 100% e.g. then an, the! AN no""".split()

CHOSEN = (
    ("", []),
    ("the", []),
    ("no", []),
    ("", [""]),
    ("", ["the", "a."]),
    ("Denmark", ["the", "denmark!"]),
    ("", ["Denmark"]),
    ("The keeper of Delta Zoe.", ["keeper of delta Zoe"]),
    ("a\u00a0house\u2003by\u202fthe\tsea\n", ["house by sea"]),
    ("one\x1ctwo\x85three", ["one two three"]),
    ("éa é the é", ["éa é é"]),
    ("THE É", ["é"]),
    ("\u212a", ["k"]),
    ("x the-y", ["x they"]),
    ("the the the", ["a"]),
    ("to be or not to be", ["not to be", "to be or to be"]),
    ("b c a d e", ["a b c d e", "e d c b a"]),
    ("<<end>> of {it} all ~", ["end of it all"]),
)


def cases():
    for found, answers in CHOSEN:
        yield found, list(answers)
    rng = random.Random("metrics")
    for _ in range(160):
        few = rng.sample(WORDS, rng.randint(2, len(WORDS)))
        sentence = lambda: rng.choice([" ", "  ", "\n"]).join(rng.choice(few) for _ in range(rng.randint(0, 24)))
        yield sentence(), [sentence() for _ in range(rng.randint(0, 4))]


def main():
    out = []
    for found, references in cases():
        exact_match, best_f1 = squad(references, found)
        case = {"found": found, "references": references, "normalized": normalize_answer(found)}
        case |= {"exact_match": exact_match, "f1": best_f1}
        if references:
            case["rouge"] = rouge(references, found)
        out.append(case)
    path = Path(__file__).parent / "metrics" / "metrics.json"
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in out)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
