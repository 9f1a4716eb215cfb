"""Reads published traces: Azure's (CSV), Mooncake's (JSON lines), Vidur's (CSV, with and without arrival times). The
first line says which one a file is."""

import csv
import json
from datetime import datetime
from pathlib import Path

from .arrivals import Arrival
from .complaint import Complaint

KNOWN = (
    "Azure (TIMESTAMP,ContextTokens,GeneratedTokens), Vidur (arrived_at,num_prefill_tokens,num_decode_tokens; or "
    "num_prefill_tokens,num_decode_tokens,... without times), Mooncake (JSON lines with timestamp, input_length, "
    "output_length)"
)


def read_trace_file(path: Path) -> tuple[list[Arrival], bool]:
    """Arrivals in the order of time, the first at 0 s, and whether the file has times: without them all are at 0 s."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            arrivals, timed = _read(lines, path)
    except (OSError, UnicodeDecodeError) as error:
        raise Complaint(f"{path} cannot be read: {error}") from None
    if not arrivals:
        raise Complaint(f"{path} has no requests")
    arrivals.sort(key=lambda arrival: arrival.at_s)
    first = arrivals[0].at_s
    return [Arrival(a.at_s - first, a.prompt_tokens, a.output_tokens) for a in arrivals], timed


def _read(lines, path):
    first = lines.readline()
    lines.seek(0)
    if first.startswith("{"):
        return _rows(_mooncake, enumerate(lines, 1), path), True
    columns = first.strip().split(",")
    rows = enumerate(csv.DictReader(lines), 2)
    if columns[:1] == ["TIMESTAMP"]:
        return _rows(_azure, rows, path), True
    if "num_prefill_tokens" in columns:
        timed = "arrived_at" in columns
        return _rows(_vidur if timed else _lengths, rows, path), timed
    raise Complaint(f"{path} is no trace that this tool knows; its first line should be that of {KNOWN}")


def _rows(read, numbered, path):
    arrivals = []
    for number, row in numbered:
        try:
            arrivals.append(read(row))
        except (KeyError, TypeError, ValueError) as error:
            raise Complaint(f"{path}, line {number}: not a request ({error!r}); remove or mend the line") from None
    return arrivals


def _mooncake(line):
    row = json.loads(line)
    return Arrival(float(row["timestamp"]) / 1000, int(row["input_length"]), int(row["output_length"]))


def _azure(row):
    # Seven digits after the point, which fromisoformat of Python 3.11 takes only in parts of three or six.
    whole, _, part = row["TIMESTAMP"].partition(".")
    seconds = datetime.fromisoformat(whole + "+00:00").timestamp() + float("0." + (part[:9] or "0"))
    return Arrival(seconds, int(row["ContextTokens"]), int(row["GeneratedTokens"]))


def _vidur(row):
    return Arrival(float(row["arrived_at"]), int(row["num_prefill_tokens"]), int(row["num_decode_tokens"]))


def _lengths(row):
    return Arrival(0.0, int(row["num_prefill_tokens"]), int(row["num_decode_tokens"]))
