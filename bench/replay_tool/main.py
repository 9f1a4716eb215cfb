"""`bench/replay`: from the command line to the results."""

import os
import shutil
import signal
import statistics
import sys

from . import measures, options as command_line
from .complaint import Complaint
from .experiment import P95, Experiment
from .page import page
from .places import wire
from .predicted import comparison
from .processes import new_folder
from .progress import Progress
from .results import Results, write_json
from .table import Compared, rows_of, show, verdicts


def main(arguments=None) -> int:
    options = command_line.parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _as_interrupt)
    try:
        command_line.check(options)
        return _run(options)
    except Complaint as complaint:
        print(f"replay: {complaint}", file=sys.stderr)
        return 1
    except wire.Refusal as refusal:
        print(f"replay: dslad refused a request: {refusal.message}", file=sys.stderr)
        return 1
    except wire.Silence as silence:
        print(f"replay: dslad does not answer ({silence}); see its log with --keep", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nreplay: interrupted; everything that was started has ended", file=sys.stderr)
        return 130


def _run(options) -> int:
    folder = new_folder()
    settings = {key: _plain(value) for key, value in vars(options).items()}
    results = Results(os.path.basename(options.trace), settings)
    experiment = Experiment(options, folder, results, Progress())
    try:
        experiment.run()
    finally:
        # Also after Ctrl-C: runs that are complete are worth seeing.
        if results.runs:
            _report(options, results, experiment.model_errors())
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if not any(run.lost or run.doubled for run in results.runs) else 1


def _report(options, results: Results, model_errors: list[float]):
    columns = measures.columns(results.quality_table)
    adaptive = [run.configuration for run in results.runs if run.configuration.split()[0] in ("threshold", "deadline")]
    results.summary = _summary(options, results)
    judged_by = Compared(P95, measures.missed_deadlines, lambda run: measures.table_quality(run, results.quality_table))
    results.verdicts = verdicts(results.runs, list(dict.fromkeys(adaptive)), judged_by)
    if model_errors and (options.clairvoyant or options.mixes == "computed"):
        results.verdicts.append(
            f"the simulated engine's p95 is x{min(model_errors):.2f} to x{max(model_errors):.2f} of the measured one (static runs)"
        )
    results.verdicts += comparison(results.runs) + measures.held_up(results.runs)
    print("\n" + "\n".join(results.summary) + "\n")
    print(show(rows_of(results.runs, columns), columns))
    for line in (*results.verdicts, *results.clairvoyant):
        print(line)
    if options.out:
        options.out.write_text(page(results), encoding="utf-8")
        print(f"page: {options.out}")
    if options.json:
        write_json(results, options.json)
        print(f"results: {options.json}")


def _summary(options, results: Results) -> list[str]:
    """Sentences over the table: what was run, and how."""
    scale = command_line.scale_of_terms(options)
    seeds = len({run.seed for run in results.runs})
    several = seeds > 1
    load = statistics.fmean(run.offered_load for run in results.runs)
    bad = sum(run.lost + run.doubled for run in results.runs)
    lines = [
        f"{results.trace}: {len(results.runs[0].jobs)} jobs a run{' of the first seed' if several else ''}, offered load "
        f"{load:.2f} of the capacity at plan 0 ({results.capacity_tokens_per_s:.0f} prompt tokens/s) until the last job came.",
        f"{options.workers} worker{'s' if options.workers > 1 else ''}, {options.dtype}; "
        + (f"deadline {options.deadline / scale:.1f} s from the submit. " if options.deadline else "no deadlines. ")
        + (f"Means over {seeds} seeds ± half of the 95% interval. " if several else "")
        + ("No job was lost or doubled." if bad == 0 else f"{bad} JOBS WERE LOST OR DOUBLED."),
    ]
    return lines


def _plain(value):
    """An option's value as JSON has it."""
    if isinstance(value, list):
        return [str(part) for part in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _as_interrupt(*_):
    raise KeyboardInterrupt
