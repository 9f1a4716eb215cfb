"""Documents as long as the trace wants them. The demo model gets logbooks of seeds that it was never trained on, with
questions whose answers are known; other models get pieces of plain text, whose summaries nobody scores."""

import random
from dataclasses import dataclass
from pathlib import Path

from .arrivals import Arrival
from .complaint import Complaint
from .places import logbooks

ANSWER_TOKENS = 14  # of a logbook's answer, about
MOST_QUESTIONS = 8
QUESTION_LIMIT = 48  # tokens that an answer may have
SUMMARY_LIMIT = 160
LOGBOOK_MARGIN = 160  # tokens of a prompt beside its document: a question, its answer, and that lengths are estimates


@dataclass(frozen=True)
class Work:
    """A job's content, and what is known of the right answers (empty: nothing)."""

    body: dict  # keys of a job request
    answers: tuple[str, ...] = ()


class Logbooks:
    """The demo model's own documents; see packaging/demo-model/recipe/generator.py."""

    name = "generated logbooks, scored answers"
    shortest = 120  # tokens; the generator cannot make sensible ones of less
    summarizes = False

    def longest(self, context: int) -> int:
        """Tokens of a document that the model has room for; the generator's lengths may be off by a tenth."""
        return int((context - LOGBOOK_MARGIN) * 0.93)

    def make(self, seed: str, arrival: Arrival) -> Work:
        book = logbooks.make_logbook(f"replay-{seed}", arrival.prompt_tokens)
        wanted = min(MOST_QUESTIONS, max(1, round(arrival.output_tokens / ANSWER_TOKENS)))
        asked = book.questions[:wanted]
        body = {"task": "qa", "document": book.text, "questions": [question.text for question in asked],
                "options": {"max_tokens": QUESTION_LIMIT}}  # fmt: skip
        return Work(body, tuple(question.answer for question in asked))


class PlainText:
    """Pieces of text files, to be summarized."""

    name = "plain text, not scored"
    shortest = 16

    def __init__(self, paths: list[Path], bytes_per_token: float):
        try:
            self.text = "\n\n".join(path.read_text(encoding="utf-8") for path in paths)
        except (OSError, UnicodeDecodeError) as error:
            raise Complaint(f"--text: {error}; give UTF-8 text files") from None
        if not self.text.strip():
            raise Complaint("--text: the files are empty")
        self.characters_per_token = bytes_per_token * len(self.text) / len(self.text.encode())

    def longest(self, context: int) -> int:
        """As of Logbooks; how many bytes a token has differs from place to place."""
        return int((context - SUMMARY_LIMIT) * 0.8)

    def make(self, seed: str, arrival: Arrival) -> Work:
        length = max(1, round(arrival.prompt_tokens * self.characters_per_token))
        start = random.Random(f"replay-{seed}").randint(0, max(0, len(self.text) - length))
        piece = self.text[start : start + length]
        limit = min(SUMMARY_LIMIT, max(1, arrival.output_tokens))
        return Work({"task": "summarize", "document": piece, "options": {"max_tokens": limit}})
