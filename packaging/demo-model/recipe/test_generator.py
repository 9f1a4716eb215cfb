"""Tests of the generator; needs only the standard library: python3 -m unittest test_generator"""

import hashlib
import re
import unittest

from generator import count_pieces, make_logbook

# Written apart from the generator's templates on purpose: reads the log as a person would.
STATEMENTS = (
    ("keeper", r"(The|Now) keeper of (?P<k>\w+) (?P<v>\w+)\."),
    ("seal", r"(The|Now) seal of (?P<k>\w+) (?P<v>\w+)\."),
    ("tank", r"(The|Now) tank of (?P<k>\w+) (?P<v>\d+) liters\."),
    ("store", r"(The|Now) store of (?P<k>\w+) (?P<v>\w+)\."),
    ("alarm", r"Alarm at (?P<k>\w+): (?P<v>.*)\."),
    ("cleared", r"The alarm at (?P<k>\w+) was cleared by (?P<v>\w+)\."),
)
QUESTIONS = (
    ("keeper", r"Who is the keeper of (\w+)\?"),
    ("keeper", r"Who keeps (\w+)\?"),
    ("seal", r"(?:What|Which) color (?:is|has) the seal of (\w+)\?"),
    ("tank", r"(?:How many liters are in|What does) the tank of (\w+)(?: hold)?\?"),
    ("store", r"Where is the (\w+)\?"),
    ("store", r"At which station is the (\w+) stored\?"),
)
ANSWERS = {
    "keeper": "The keeper of {} {}.",
    "seal": "The seal of {} {}.",
    "tank": "The tank of {} {} liters.",
    "store": "The store of {} {}.",
}
TWO_STEP = (
    ("keeper", r"Who keeps the station where the (\w+) is stored\?"),
    ("seal", r"What color is the seal of the station where the (\w+) is stored\?"),
    ("tank", r"How many liters are in the tank of the station where the (\w+) is stored\?"),
)


def read_log(text):
    """((attribute, key) -> its values in order, (attribute, key) -> the last statement's place in [0, 1))."""
    values, place = {}, {}
    lines = text.split("\n")[1:]
    for index, line in enumerate(lines):
        entry = line.split(": ", 1)[1]
        for attribute, pattern in STATEMENTS:
            match = re.fullmatch(pattern, entry)
            if match:
                values.setdefault((attribute, match["k"]), []).append(match["v"])
                place[attribute, match["k"]] = index / len(lines)
    return values, place


def expected(question, values, place):
    """(answer, kind) of a question, from the text alone."""
    if question in ("Where was the alarm?", "What was the alarm?"):
        (slot,) = [s for s in values if s[0] == "alarm"]
        where = question.startswith("Where")
        answer = f"The alarm was at {slot[1]}." if where else f"The alarm at {slot[1]} was {values[slot][0]}."
        return answer, ("early", "middle", "late")[int(place[slot] * 3)]
    for attribute, pattern in TWO_STEP:
        match = re.fullmatch(pattern, question)
        if match:
            station = values["store", match[1]][-1]
            first = ANSWERS["store"].format(match[1], station)
            return f"{first} {ANSWERS[attribute].format(station, values[attribute, station][-1])}", "two-step"
    for attribute, pattern in QUESTIONS:
        match = re.fullmatch(pattern, question)
        if match:
            slot = (attribute, match[1])
            third = ("early", "middle", "late")[int(place[slot] * 3)]
            answer = ANSWERS[attribute].format(match[1], values[slot][-1])
            return answer, "overwritten" if len(values[slot]) > 1 else third
    raise AssertionError(f"unknown question: {question}")


class GeneratorTest(unittest.TestCase):
    def books(self):
        for length in (110, 200, 500, 2000, 7600):
            for seed in range(20):
                yield length, make_logbook(f"test-{seed}", length)

    def test_answers_follow_from_the_text(self):
        for _, book in self.books():
            values, place = read_log(book.text)
            self.assertGreaterEqual(len(book.questions), 5)
            for question in book.questions:
                self.assertEqual((question.answer, question.kind), expected(question.text, values, place))

    def test_evidence_stands_in_the_text_where_the_kind_says(self):
        for _, book in self.books():
            for question in book.questions:
                self.assertIn(question.evidence, book.text)
                if question.kind in ("early", "middle", "late"):
                    entries = book.text.count("\n")
                    place = book.text[: book.text.rindex(question.evidence)].count("\n") - 1
                    self.assertEqual(question.kind, ("early", "middle", "late")[place * 3 // entries])

    def test_no_question_is_asked_twice(self):
        for _, book in self.books():
            texts = [question.text for question in book.questions]
            self.assertEqual(len(texts), len(set(texts)))

    def test_summary_follows_from_the_text(self):
        for _, book in self.books():
            values, _ = read_log(book.text)
            ((_, station),) = [slot for slot in values if slot[0] == "alarm"]
            self.assertIn(f"alarm at {station}: {values['alarm', station][0]}, ", book.summary)
            cleared = values.get(("cleared", station))
            self.assertIn(f"cleared by {cleared[0]}" if cleared else "still open", book.summary)
            for attribute, key in values:
                if attribute == "keeper":
                    self.assertRegex(book.summary, rf"\b{key} {values[attribute, key][-1]}\b")

    def test_the_number_of_stations_can_be_asked_for(self):
        for seed in range(20):
            book = make_logbook(f"test-{seed}", 150, stations=(5, 8))
            values, _ = read_log(book.text)
            header = re.match(r"Logbook of (\d) stations, days 1 to \d+: (.*)\.", book.text)
            names = re.split(r", | and ", header[2])
            self.assertEqual(len(names), int(header[1]))
            self.assertIn(len(names), range(5, 9))
            self.assertRegex(book.summary, ".*".join(rf"\b{name} {values['keeper', name][-1]}\b" for name in names))

    def test_every_kind_occurs_in_long_logs(self):
        kinds = {q.kind for length, book in self.books() if length >= 2000 for q in book.questions}
        self.assertEqual(kinds, {"early", "middle", "late", "overwritten", "two-step"})

    def test_length_is_near_the_target(self):
        for length, book in self.books():
            self.assertLess(count_pieces(book.text), length * 1.05 + 60)
            self.assertGreater(count_pieces(book.text), length * 0.7)

    def test_routine_entries_state_no_fact(self):
        book = make_logbook("test-0", 7600)
        values, _ = read_log(book.text)
        self.assertLessEqual(sum(len(v) for v in values.values()), 60)

    def test_equal_seeds_give_equal_logs(self):
        self.assertEqual(make_logbook("a", 500), make_logbook("a", 500))
        self.assertNotEqual(make_logbook("a", 500).text, make_logbook("b", 500).text)

    def test_logs_never_change_silently(self):
        """The shipped model was trained on exactly this language: change the digest only with the model."""
        digest = hashlib.sha256()
        for _, book in self.books():
            digest.update(repr(book).encode())
        self.assertEqual(digest.hexdigest()[:16], "bb866f4965bf8e3e")


if __name__ == "__main__":
    unittest.main()
