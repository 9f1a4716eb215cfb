"""The experiments of docs/quality.md that the twin makes: each a run of distil.py, perhaps with several seeds.

    python experiments.py --list
    python experiments.py ../model hard --out /tmp/experiments --jobs 4 --device cuda --tf32 --loaders 2

A run's folder is OUT/GROUP/NAME-SEED, its output the file `log` there; one that is finished is not made again. Options
that are not listed here are distil.py's.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LENGTHS = "--lengths 500 1000 2000 4000 7600 --documents 3 "
STATES = "--output-norm --alpha-per-head --history-bias 6 "  # of every run here
APART, WINDOW, SOFTMAX, WIDE = "--recency-bias -6 ", "--window 64 ", "--feature-map softmax ", "--feature-map softmax_pair "
RECIPE = "--steps 60 --rows 8000 --grow 0.6 --document-weight 0.1 --weight-align 0 --chained-rate 2e-3 --warm-up 50 "
HARD = (  # the one layer that looks facts up, behind the seven others of the shipped chain
    RECIPE + STATES + APART + WINDOW + LENGTHS + "--chain ../model/dsla --keep 7 --order 1 --chained-steps 2300 "
    "--training-lengths 120 4000 "
)
LAST_TWO = HARD.replace("--keep 7 --order 1", "--keep 6 --order 4,1") + "--rotary " + SOFTMAX
FACTS = (  # that layer alone, the others the teacher's, on short logbooks
    RECIPE + STATES + WINDOW + "--order 1 --chained-steps 800 --rows 2500 --training-lengths 120 1000 "
    "--lengths 500 1000 2000 --documents 5 --no-summaries "
)
BRIEF = (  # the same on less: for a core and some minutes
    FACTS.replace("--steps 60 --rows 8000", "--steps 600").replace("--warm-up 50", "--warm-up 20")
    .replace("--chained-steps 800 --rows 2500 --training-lengths 120 1000", "--chained-steps 400 --rows 600 --training-lengths 120 400")
)
ALONE = (  # one layer without a window
    STATES + "--steps 120 --chained-steps 60 --rows 1200 --training-lengths 100 600 --document-weight 0.1 "
    "--lengths 300 500 1000 --documents 5 --no-summaries --rotary "
)
SPLIT = {  # states of equal size: "apart", "alike" and "one-wide"
    "apart": SOFTMAX + APART,
    "alike": SOFTMAX + "--recency-bias 6",
    "one-half": SOFTMAX + "--states 1",
    "one-wide": WIDE + "--states 1",
    "wide": WIDE + APART,
}
WIDER = SPLIT["one-wide"] + " --expand-k 2 "
WHOLE = (  # a whole chain
    STATES + APART + WINDOW + SOFTMAX + "--rotary --rows 4000 --training-lengths 200 3000 --steps 15 "
    "--chained-steps 15 --warm-up 4 --lengths 1000 4000 --documents 5 "
)
GREEDY = WHOLE + "--order 5,6,2,3,7,0,4,1 "
EXPERIMENTS = {
    "longer": {
        "last-two": LAST_TWO.replace("120 4000", "120 7600")
        + "--layer-variant 1=rotary=0,feature_map=softmax_pair --hard 4=700 1=4500",
    },
    "hard": {
        "last-two": LAST_TWO + "--hard 4=600 1=1700",
        "pair": HARD + WIDE,
        "none": HARD + "--feature-map none",
    },
    "facts": {
        **{name: FACTS + parts for name, parts in SPLIT.items()},
        "one-wider": FACTS + WIDER,
        **{name + "-rotary": FACTS + SPLIT[name] + "--rotary" for name in ("apart", "wide")},
    },
    "delta": {  # all four times as large as one plain state
        "one-wider": BRIEF + WIDER,
        "sinks": BRIEF + WIDER + "--sinks 4 ",
        "dropout": BRIEF + WIDER + "--window-dropout 0.25 ",
        "delta": BRIEF + WIDER + "--delta ",
        "delta-sinks": BRIEF + WIDER + "--delta --sinks 4 ",
    },
    "alone-1": {name: ALONE + "--order 1 " + parts for name, parts in SPLIT.items()},
    "orders": {
        "greedy": GREEDY,
        "reverse": WHOLE + "--order 7,6,5,4,3,2,1,0",
        "entropy-descending": WHOLE + "--order 4,7,3,6,0,1,5,2",
        "entropy-ascending": WHOLE + "--order 2,5,1,0,6,3,7,4",
        "index": WHOLE + "--order 0,1,2,3,4,5,6,7",
        "random-1": WHOLE + "--order 3,6,1,5,7,0,4,2",
        "random-2": WHOLE + "--order 5,3,4,1,2,6,7,0",
        "random-3": WHOLE + "--order 0,5,7,2,1,6,4,3",
    },
    "recipe": {
        "layer-wise": GREEDY + "--steps 30 --chained-steps 0",
        "ce-align": GREEDY + "--weight-kl 0",
        "all": GREEDY,
        "all-4": GREEDY + "--steps 60 --chained-steps 60",
    },
}


def run(options, common, group, name, seed):
    out = options.out / group / f"{name}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    if (out / "done").exists():
        return
    began = time.time()
    here = Path(__file__).parent
    command = [sys.executable, here / "distil.py", options.model, "--out", out.absolute(), "--seed", str(seed)]
    with open(out / "log", "w") as log:
        code = subprocess.run([*command, *EXPERIMENTS[group][name].split(), *common], cwd=here, stdout=log,
                              stderr=subprocess.STDOUT).returncode
    if code == 0:
        (out / "done").touch()
    lines = (out / "log").read_text().splitlines()
    print(f"{group}/{name}-{seed} {time.time() - began:.0f} s, exit {code}: {lines[-1] if lines else ''}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--seeds", type=int, nargs="+", default=(1,))
    options, common = parser.parse_known_args()
    if options.list:
        for group, runs in EXPERIMENTS.items():
            print(group, *runs)
        return
    options.model = options.model.absolute()
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    wanted = [(g, n, s) for g in options.groups for s in options.seeds for n in EXPERIMENTS[g]]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda each: run(options, common, *each), wanted))


if __name__ == "__main__":
    main()
