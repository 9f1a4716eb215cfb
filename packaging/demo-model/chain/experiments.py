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
HARD = (  # the one layer that looks facts up, behind the seven others of the shipped chain
    "--chain ../model/dsla --keep 7 --order 1 --steps 60 --chained-steps 2300 --rows 8000 --training-lengths 120 4000 "
    "--grow 0.6 --document-weight 0.1 --weight-align 0 --chained-rate 2e-3 --warm-up 50 " + LENGTHS +
    "--output-norm --alpha-per-head --window 64 --history-bias 6 --recency-bias -6 "
)
EXPERIMENTS = {
    "hard": {
        "last-two": HARD.replace("--keep 7 --order 1", "--keep 6 --order 4,1") + "--rotary --feature-map softmax --hard 4=600 1=1700",
        "pair": HARD + "--feature-map softmax_pair",
        "none": HARD + "--feature-map none",
        "unit": HARD + "--feature-map unit",
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
