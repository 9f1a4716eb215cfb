"""The demo's last part: many jobs at once, on plan 0 and then under the policy, with the plan over time drawn as text."""

import datetime
import sqlite3

COLUMNS = 60  # of the drawing
COPIES = 4  # of each job
TARGET_SHARE = 0.4  # of the time on plan 0, in which the policy is to be done


def show(service, jobs, run_jobs, questions_right):
    """Runs the jobs `COPIES` times over, twice; prints a table and the drawing."""
    burst = jobs * COPIES
    runs = []
    for label, settings in (("plan 0", ("static", "--static-plan", 0)), ("the policy", None)):
        if settings is None:
            settings = ("deadline", "--target-drain", f"{max(1, runs[0].seconds * TARGET_SHARE):.1f}s")
        service.ctl("policy", "set", *settings)
        print(f"\n{len(burst)} jobs at once, dslactl policy set {' '.join(map(str, settings))}")
        results, seconds = run_jobs(service, burst)
        runs.append(Run(label, results, seconds, questions_right(burst, results), times(service)))
    print("\n" + table(runs))
    for run in runs:
        print(f"\n{run.label}: plans of the jobs that began, and how many jobs were not done yet\n{drawing(run)}")


class Run:
    def __init__(self, label, results, seconds, right, known):
        self.label, self.seconds, self.right = label, seconds, right
        metrics = [result.get("metrics", {}) for result in results]
        self.plans = [m.get("plan", 0) for m in metrics]
        qualities = [(1.0 if m.get("plan", 0) == 0 else m.get("quality") or 0.0, m.get("prompt_tokens", 0)) for m in metrics]
        tokens = sum(weight for _, weight in qualities)
        self.quality = sum(quality * weight for quality, weight in qualities) / tokens if tokens else 0.0
        self.spans = sorted(known[result["id"]] for result in results if result["id"] in known)  # began, ended


def times(service):
    """(plan, begin, end) of each job by id, in seconds."""
    with sqlite3.connect(f"file:{service.folder / 'dslad.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT s.id, m.plan, s.started_at, s.ended_at FROM job_status s JOIN job_metrics m ON m.id = s.id "
                                "WHERE s.state = 'succeeded'").fetchall()
    return {job: (seconds(began), seconds(ended), plan) for job, plan, began, ended in rows}


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def table(runs):
    lines = ["              all jobs   half done in   right         mean quality of the plans"]
    for run in runs:
        first = run.spans[0][0]
        ends = sorted(end for _, end, _ in run.spans)
        right, asked = run.right
        lines.append(f"{run.label:<12}{run.seconds:>8.1f} s  {ends[len(ends) // 2] - first:>11.1f} s   {right:>3} of {asked:<6}"
                     f"{run.quality:>12.1%}")
    return "\n".join(lines)


def drawing(run):
    """A line for each plan that a job had, a column for each part of the time."""
    first, last = run.spans[0][0], max(end for _, end, _ in run.spans)
    width = max(last - first, 1e-3) / COLUMNS
    began = {}  # by plan and column
    for begin, _, plan in run.spans:
        column = min(int((begin - first) / width), COLUMNS - 1)
        began[plan, column] = began.get((plan, column), 0) + 1
    lines = []
    for plan in sorted({plan for plan, _ in began}, reverse=True):
        cells = "".join(blocks(began.get((plan, column), 0)) for column in range(COLUMNS))
        lines.append(f"  plan {plan:<3}|{cells}|")
    left = [sum(end > first + column * width for _, end, _ in run.spans) for column in range(COLUMNS)]
    lines.append("  not done|" + "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // len(run.spans))] for count in left) + "|")
    end = f"{last - first:.1f} s"
    lines.append(f"           0 s{end:>{COLUMNS - 3}}")
    return "\n".join(lines)


def blocks(count):
    return " ▂▄▆█"[min(count, 4)]
