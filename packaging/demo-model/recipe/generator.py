"""Long logbooks with known answers, from a seed and nothing but the standard library.

A logbook is a header and dated one-line entries. Some entries state FACTS (who keeps a station, which
colour its seal has, what its tank holds, where goods are stored, one alarm); the rest is routine.
A fact may be stated again later with a new value: the latest value wins. Questions ask for the state at the
end of the log; two-step questions go from goods to a station to a property of that station. Answers are
whole sentences, and those of two-step questions say both steps: a tiny model can look up what it has just said. Equal arguments give equal logbooks, on every platform.
"""

import random
import re
from dataclasses import dataclass, field

from routine import routine_line
from words import ALARMS, COLORS, GOODS, PEOPLE, STATIONS

# attribute -> (statement, questions); {k} is the key, {v} the value. The value stands right after its key, as
# in a ledger: with words between them the model did not learn to look values up in the time it had.
FACTS = {
    "keeper": ("keeper of {k} {v}.", ("Who is the keeper of {k}?", "Who keeps {k}?")),
    "seal": ("seal of {k} {v}.", ("What color is the seal of {k}?", "Which color has the seal of {k}?")),
    "tank": ("tank of {k} {v} liters.", ("How many liters are in the tank of {k}?", "What does the tank of {k} hold?")),
    "store": ("store of {k} {v}.", ("Where is the {k}?", "At which station is the {k} stored?")),
}

TWO_STEP = {
    "keeper": "Who keeps the station where the {k} is stored?",
    "seal": "What color is the seal of the station where the {k} is stored?",
    "tank": "How many liters are in the tank of the station where the {k} is stored?",
}

MAX_STATEMENTS = 44  # facts, updates included, however long the log: the rest of a long log is routine
PIECES_PER_LINE = 12  # of a typical entry; used only to choose how many facts fit


@dataclass(frozen=True)
class Question:
    text: str
    answer: str
    kind: str  # early | middle | late: where its only statement is; or overwritten | two-step
    evidence: str = field(repr=False)  # the entry that says so; of two, the one further back


@dataclass(frozen=True)
class Logbook:
    text: str
    questions: tuple
    summary: str


@dataclass
class _Statement:
    at: float  # sort key in [0, 1): where in the log it stands
    attribute: str
    key: str
    value: str
    update: bool


def count_pieces(text):
    """About the number of tokens: words, numbers, punctuation and line ends."""
    return len(re.findall(r"\w+|[^\w\s]|\n", text))


def make_logbook(seed, target_pieces, routine=routine_line, stations=None):
    """One logbook of about `target_pieces` tokens. `routine(rng, stations)` gives the filler lines.

    `stations`: fewest and most of them; without it 3 to 8, in short logbooks no more than a quarter of the entries.
    """
    rng = random.Random(seed)
    room = max(8, (target_pieces - 20) // PIECES_PER_LINE)
    count = rng.randint(*stations) if stations else min(room // 4, rng.randint(3, 8))
    stations = rng.sample(STATIONS, count)
    statements = _plan_statements(rng, stations, min(int(room * 0.85), MAX_STATEMENTS))
    days = rng.randint(4, 28)
    header = f"Logbook of {len(stations)} stations, days 1 to {days}: {_listing(stations)}."
    lines = _with_routine(rng, statements, stations, target_pieces - count_pieces(header), routine)
    text = [header]
    offsets = {}  # id of statement -> relative position in the log
    for index, (_, statement, line) in enumerate(lines):
        if statement is not None:
            offsets[id(statement)] = index / len(lines)
        text.append(f"Day {1 + index * days // len(lines)}: {line}")
    questions = _questions(rng, statements, offsets)
    return Logbook("\n".join(text), tuple(questions), _summary(stations, days, statements))


def _listing(names):
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _plan_statements(rng, stations, count):
    people = iter(rng.sample(PEOPLE, len(PEOPLE)))
    values = {
        "keeper": lambda: next(people),
        "seal": lambda: rng.choice(COLORS),
        "tank": lambda: str(rng.randint(10, 99)),
        "store": lambda: rng.choice(stations),
    }
    first = [("keeper", station) for station in stations]
    more = [(attribute, station) for attribute in ("seal", "tank") for station in stations]
    more += [("store", goods) for goods in rng.sample(GOODS, 2 * len(stations))]
    rng.shuffle(more)
    spare = count - len(first) - 2  # two entries belong to the alarm
    first += more[: max(2, int(spare * 0.7))]
    statements = [_Statement(rng.random(), a, k, values[a](), False) for a, k in first]
    statements += _alarm(rng, stations, next(people))
    updatable = list(statements[: len(first)])
    for _ in range(min(len(first) // 2, max(1, count - len(statements)))):
        old = updatable.pop(rng.randrange(len(updatable)))
        new_value = values[old.attribute]()
        while new_value == old.value:
            new_value = values[old.attribute]()
        new = _Statement(rng.uniform(old.at, 1.0), old.attribute, old.key, new_value, True)
        statements.append(new)
        if rng.random() < 0.25:  # a second change of the same fact
            updatable.append(new)
    return sorted(statements, key=lambda s: s.at)


def _alarm(rng, stations, person):
    station = rng.choice(stations)
    alarm = _Statement(rng.random(), "alarm", station, rng.choice(ALARMS), False)
    if rng.random() < 0.5:
        return [alarm]
    return [alarm, _Statement(rng.uniform(alarm.at, 1.0), "cleared", station, person, False)]


def _statement_line(statement):
    if statement.attribute == "alarm":
        return f"Alarm at {statement.key}: {statement.value}."
    if statement.attribute == "cleared":
        return f"The alarm at {statement.key} was cleared by {statement.value}."
    line = FACTS[statement.attribute][0].format(k=statement.key, v=statement.value)
    return f"Now {line}" if statement.update else f"The {line}"


def _with_routine(rng, statements, stations, target_pieces, routine):
    """[(sort key, statement or None, line)] in the order of the log."""
    lines = [(s.at, s, _statement_line(s)) for s in statements]
    size = sum(count_pieces(line) + 5 for _, _, line in lines)  # 5: "Day 7:" and the line end
    while size < target_pieces:
        line = routine(rng, stations)
        lines.append((rng.random(), None, line))
        size += count_pieces(line) + 5
    return sorted(lines, key=lambda entry: entry[0])


def _questions(rng, statements, offsets):
    latest, times = {}, {}
    for statement in statements:
        slot = (statement.attribute, statement.key)
        latest[slot] = statement
        times[slot] = times.get(slot, 0) + 1
    questions = []
    for (attribute, key), statement in latest.items():
        third = ("early", "middle", "late")[int(offsets[id(statement)] * 3)]
        if attribute == "alarm":
            entry = _statement_line(statement)
            questions.append(Question("Where was the alarm?", f"The alarm was at {key}.", third, entry))
            answer = f"The alarm at {key} was {statement.value}."
            questions.append(Question("What was the alarm?", answer, third, entry))
        elif attribute in FACTS:
            kind = "overwritten" if times[attribute, key] > 1 else third
            text = rng.choice(FACTS[attribute][1]).format(k=key)
            questions.append(Question(text, _answer(statement), kind, _statement_line(statement)))
        if attribute == "store":
            questions += _two_step(rng, statement, latest)
    rng.shuffle(questions)
    return questions


def _answer(statement):
    return "The " + FACTS[statement.attribute][0].format(k=statement.key, v=statement.value)


def _two_step(rng, store, latest):
    attribute = rng.choice([a for a in TWO_STEP if (a, store.value) in latest])
    second = latest[attribute, store.value]
    further_back = min(store, second, key=lambda statement: statement.at)
    answer = f"{_answer(store)} {_answer(second)}"
    return [Question(TWO_STEP[attribute].format(k=store.key), answer, "two-step", _statement_line(further_back))]


def _summary(stations, days, statements):
    alarm = next(s for s in statements if s.attribute == "alarm")
    cleared = [s for s in statements if s.attribute == "cleared"]
    end = f"cleared by {cleared[0].value}" if cleared else "still open"
    keeper = {s.key: s.value for s in statements if s.attribute == "keeper"}
    kept = _listing([f"{station} {keeper[station]}" for station in stations])
    return (
        f"The log covers {len(stations)} stations and {days} days. "
        f"There was an alarm at {alarm.key}: {alarm.value}, {end}. At the end the keepers are: {kept}."
    )
