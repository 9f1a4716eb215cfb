"""The command line."""

import argparse
import os
from pathlib import Path

from .complaint import Complaint
from .configurations import parse
from .places import BIN, DEMO_MODEL
from .processes import ServiceOptions
from .trace_files import read_trace_file

GENERATORS = ("square", "poisson", "adversarial")
DEFAULT_LOAD = {"square": 1.8, "adversarial": 1.8}  # of the "on" phases; others have 0.9 on average
MOST_LAYERS = 4096
DEFAULT_POLICIES = ("static:0", "static:half", "static:three-quarters", "static:all", "threshold", "deadline")

_EPILOG = """\
policies: static:PLAN and manual:PLAN (PLAN: a number, or half, three-quarters, all), threshold, deadline; a policy's
settings follow a colon or comma: deadline:dwell_ms=0,min_quality=0.98  static:4,min_quality=0.9

examples:
  bench/replay square --seeds 3 --out page.html
  bench/replay AzureLLMInferenceTrace_code.csv --load 1.1 --policy static:0 static:all deadline
  bench/replay poisson --jobs 12 --seeds 1 --clairvoyant

docs/adaptive.md says what the columns mean."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="bench/replay",
        description="Replays a trace of jobs against the real daemon and workers, one policy after another, and compares.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("trace", metavar="TRACE",
                   help="an Azure, Mooncake or Vidur file, or one of " + ", ".join(GENERATORS))
    what = p.add_argument_group("what is compared")
    what.add_argument("--policy", nargs="+", default=list(DEFAULT_POLICIES), metavar="POLICY",
                      help="default: " + " ".join(DEFAULT_POLICIES))
    what.add_argument("--mixes", choices=("real", "computed", "none"), default="real",
                      help="mixes of two static plans with each adaptive run's quality: run, follow from the static runs, or left out")
    what.add_argument("--clairvoyant", action="store_true",
                      help="the best choice of plans by search; short traces: --jobs 12")
    what.add_argument("--seeds", type=_count, default=5, help="how many (5); other arrivals and documents with each")
    what.add_argument("--first-seed", type=int, default=1)
    load = p.add_argument_group("the load; times are of the real run unless said otherwise")
    load.add_argument("--load", type=_positive,
                      help="share of the capacity at plan 0 that arrives: in the bursts of square and "
                      "adversarial (1.8), on average else (0.9)")
    load.add_argument("--off-load", type=_not_negative, default=0.0, help="the same between bursts (0)")
    load.add_argument("--duration", type=_positive, help="seconds of arrivals (three waves; 90 for others)")
    load.add_argument("--time-scale", type=_positive,
                      help="divides the square wave's 90 s, and --deadline, --target-drain, --dwell "
                      "(6); for a file: its times (without it they follow from --load)")
    load.add_argument("--jobs", type=_count, help="at most so many jobs of the trace")
    load.add_argument("--median-tokens", type=_positive, help="of a generator's prompts (half of the context)")
    load.add_argument("--longest-tokens", type=_count, help="of any prompt (what the context has room for)")
    load.add_argument("--capacity", type=_positive, metavar="TOKENS_PER_S",
                      help="prompt tokens a second at plan 0, instead of measuring")
    load.add_argument("--calibration-jobs", type=_count, default=24, help="jobs that measure the capacity (24)")
    load.add_argument("--teach-jobs", type=_not_negative_count, default=3,
                      help="jobs on each static plan before each run, from which the daemon learns costs (3)")
    load.add_argument("--text", type=Path, nargs="+", metavar="FILE",
                      help="plain text for documents, for another model than the demo's")
    terms = p.add_argument_group("terms, in seconds before they are divided by --time-scale")
    terms.add_argument("--deadline", type=_not_negative, default=60.0, help="of each job from its submit (60; 0: none)")
    terms.add_argument("--target-drain", type=_positive, default=30.0, help="the policy's target_drain_ms (30)")
    terms.add_argument("--dwell", type=_not_negative, default=30.0, help="the policy's dwell_ms (30)")
    terms.add_argument("--min-quality", type=_not_negative, default=0.0, help="the policy's floor (0)")
    programs = p.add_argument_group("the programs")
    programs.add_argument("--bin", type=Path, default=BIN, metavar="DIR",
                          help="folder with dslad and dslad-worker (build/release/bin)")
    programs.add_argument("--model", type=Path, default=DEMO_MODEL, metavar="DIR",
                          help="a model with its chain (the demo model)")
    programs.add_argument("--workers", type=_count, default=1, help="how many (1)")
    programs.add_argument("--threads", type=_count, help="of each worker (processors / workers)")
    programs.add_argument("--cache-mib", type=_count, default=512, help="of each worker (512)")
    programs.add_argument("--hold", type=_count, metavar="JOBS", help="that each worker holds at once, its --capacity (16)")
    programs.add_argument("--dtype", choices=("bf16", "f32"), default="bf16")
    programs.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the daemon")
    programs.add_argument("--keep", action="store_true", help="keep the folder with logs and databases")
    programs.add_argument("--patience", type=_positive, default=600.0,
                          help="seconds after the last submit before jobs count as lost (600)")
    out = p.add_argument_group("results")
    out.add_argument("--out", type=Path, metavar="PAGE.html", help="one page with table and charts")
    out.add_argument("--json", type=Path, metavar="FILE", help="every job of every run")
    return p


def service_options(options) -> ServiceOptions:
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.workers)
    return ServiceOptions(options.bin.resolve(), options.model.resolve(), options.workers, threads, options.cache_mib,
                          options.hold, options.dtype, tuple(options.set))  # fmt: skip


def check(options):
    """Complains about what can be known before anything runs."""
    if options.trace not in GENERATORS and not Path(options.trace).is_file():
        raise Complaint(f"there is no trace '{options.trace}': give a file, or one of {', '.join(GENERATORS)}")
    for path in (options.out, options.json):
        if path is not None and not path.absolute().parent.is_dir():
            raise Complaint(f"{path}: there is no folder {path.parent}; make it first")
    if options.model.resolve() != DEMO_MODEL and not options.text:
        raise Complaint("another model than the demo's needs documents: name text files with --text")
    if options.load is not None and options.time_scale is not None and options.trace not in GENERATORS:
        raise Complaint("--load and --time-scale of a file contradict each other; give one")
    service_options(options).check()
    for text in options.policy:
        parse(text, MOST_LAYERS)  # whether the model has the plan shows later
    if options.trace not in GENERATORS:
        read_trace_file(Path(options.trace))


def scale_of_terms(options) -> float:
    """What the square wave's times and the terms are divided by."""
    return options.time_scale or 6.0


def load_of(options) -> float:
    return options.load if options.load is not None else DEFAULT_LOAD.get(options.trace, 0.9)


def _number(kind, least, text, strict):
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number") from None
    if value < least or (strict and value == least) or value != value or value == float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is out of range: {'more than' if strict else 'at least'} {least}")
    return value


def _positive(text):
    return _number(float, 0, text, True)


def _not_negative(text):
    return _number(float, 0, text, False)


def _count(text):
    return _number(int, 1, text, False)


def _not_negative_count(text):
    return _number(int, 0, text, False)
