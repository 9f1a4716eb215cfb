"""Scores of answers and summaries."""


def exact_match(found, gold):
    return found.strip() == gold.strip()


def rouge_l(found, gold):
    """F1 of the longest common subsequence of lower-cased words."""
    a, b = found.lower().split(), gold.lower().split()
    row = [0] * (len(b) + 1)
    for word in a:
        previous = 0
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if word == other else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b)) if a and b else 0.0


def keeper_recall(found, gold):
    """Share of the gold summary's "station keeper" pairs that the summary found names."""
    pairs = _pairs(gold)
    return len(pairs & _pairs(found)) / len(pairs)


def _pairs(summary):
    end = summary.partition("At the end the keepers are: ")[2].rstrip(".")
    return {pair.strip() for pair in end.replace(" and ", ", ").split(",") if pair.strip()}
