"""Everything that a session of runs found out, and its file."""

import json
import pathlib
from dataclasses import asdict, dataclass, field

from . import measures
from .records import RunRecord


@dataclass
class Results:
    trace: str
    settings: dict
    quality_table: dict[int, float] = field(default_factory=dict)
    capacity_tokens_per_s: float = 0.0  # prompt tokens at plan 0
    runs: list[RunRecord] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)  # sentences
    verdicts: list[str] = field(default_factory=list)
    clairvoyant: list[str] = field(default_factory=list)

    @property
    def settings_text(self) -> str:
        return json.dumps(self.settings, indent=1)


def write_json(results: Results, path: pathlib.Path):
    """All jobs of all runs, and of each run the columns of the table."""
    columns = measures.columns(results.quality_table)
    runs = [{**asdict(run), "measured": {column.key: column.measure(run) for column in columns}} for run in results.runs]
    path.write_text(json.dumps({**vars(results), "runs": runs}, indent=1) + "\n", encoding="utf-8")
