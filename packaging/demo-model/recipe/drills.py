"""Exercises for the first steps: looking up, and nothing else.

Logbooks teach it slowly, because most of their tokens cannot be looked up and most values stand once among
hundreds of others. Each drill returns a text and (prompt, answer) pairs for it.
"""

from generator import FACTS
from prompts import QUESTION, RECITAL
from words import COLORS, GOODS, PEOPLE, STATIONS

NUMBERS = [str(number) for number in range(10, 100)]
WORDS = STATIONS + PEOPLE + COLORS + GOODS + NUMBERS
VALUES = {"keeper": PEOPLE, "seal": COLORS, "tank": NUMBERS, "store": STATIONS}


def copying(rng, step):
    """Lines of random words, then the same lines in another order: teaches copying every kind of word."""
    lines = 3 + step % 6
    picked = rng.sample(WORDS, 5 * lines)
    rows = [" ".join(picked[i::lines]) for i in range(lines)]
    text = " " + "\n ".join(rows)
    rng.shuffle(rows)
    return text, [(RECITAL, "\n ".join(rows))]


def facts(rng, _step):
    """Entries about one attribute, each then asked for or begun anew: teaches telling the keys apart."""
    attribute = rng.choice(sorted(FACTS))
    statement, questions = FACTS[attribute]
    entries, latest = [], {}
    for key in rng.sample(GOODS if attribute == "store" else STATIONS, rng.randint(3, 6)):
        at, times = rng.random(), 1 + (rng.random() < 0.2)
        for time in range(times):
            value = rng.choice(VALUES[attribute])
            entries.append((at, ("Now " if time else "The ") + statement.format(k=key, v=value)))
            latest[key] = value
            at = rng.uniform(at, 1.0)
    entries.sort()
    text = "\n".join(f"Day {day}: {line}" for day, (_, line) in enumerate(entries, 1))
    lines = [line for _, line in entries]
    rng.shuffle(lines)
    suffixes = [(RECITAL, "\n ".join(lines))]
    for key, value in latest.items():
        question = rng.choice(questions).format(k=key)
        suffixes.append((QUESTION.format(question=question), "The " + statement.format(k=key, v=value)))
    return text, suffixes
