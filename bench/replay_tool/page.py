"""All results on one page that needs nothing but itself: the table, and load, plan, jobs at work, quality and completion
over time of each configuration for one seed. It looks like the pages of `dslad-model report`, and follows the reader's choice of
light or dark."""

from html import escape

from . import measures
from .charts import Chart, to_svg
from .records import RunRecord
from .results import Results
from .table import cell_text, rows_of

BINS = 60  # of the arrivals' bars
MEAN_OVER = 9  # jobs, of the quality's line

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/><title>Replay</title><style>
:root{color-scheme:light dark;--ink:#1f2328;--soft:#57606a;--line:#d0d7de;--pale:#f6f8fa;--page:#fff;
--blue:#1f6feb;--red:#d1242f;--green:#1a7f37;--shade:#fff1e5}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--pale:#151b23;--page:#0d1117;
--blue:#58a6ff;--red:#ff7b72;--green:#3fb950;--shade:#2a1f14}}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:var(--ink);background:var(--page)}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-size:13px;white-space:nowrap}
td,th{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:right}
td:first-child,th:first-child{text-align:left}th{background:var(--pale)}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:.5rem}
svg{width:100%;font:10px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:.6}.title{font-weight:600;font-size:12px;fill:var(--ink)}
polyline{fill:none;stroke-width:1.6}.blue{stroke:var(--blue)}.red{stroke:var(--red)}.green{stroke:var(--green)}
circle.blue{fill:var(--blue);stroke:none;fill-opacity:.5}circle.red{fill:var(--red);stroke:none}
.bar{fill:var(--soft);fill-opacity:.4}.burst{fill:var(--shade)}
pre{background:var(--pale);padding:1rem;overflow:auto}.note{color:var(--soft)}
</style></head><body>
"""


def page(results: Results) -> str:
    """Well-formed also as XML, but for the first line."""
    return "".join([
        _HEAD,
        f"<h1>Replay of {escape(results.trace)}</h1>\n",
        "".join(f"<p>{escape(line)}</p>\n" for line in results.summary),
        _table(results),
        "".join(f"<p>{escape(line)}</p>\n" for line in results.verdicts),
        _clairvoyant(results),
        _runs(results),
        f"<h2>Settings</h2>\n<pre>{escape(results.settings_text)}</pre>\n</body></html>\n",
    ])  # fmt: skip


def _table(results):
    columns = measures.columns(results.quality_table)
    head = "".join(f"<th>{escape(column.title)}</th>" for column in columns)
    lines = [
        f"<tr><td title='{escape(row.detail)}'>{escape(row.label)}</td>"
        + "".join(f"<td>{escape(cell_text(cell, column))}</td>" for cell, column in zip(row.cells, columns))
        + "</tr>\n"
        for row in rows_of(results.runs, columns)
    ]
    return f"<div class='wide'><table>\n<tr><th>configuration</th>{head}</tr>\n{''.join(lines)}</table></div>\n"


def _clairvoyant(results):
    if not results.clairvoyant:
        return ""
    return "<h2>Clairvoyant optimum</h2>\n" + "".join(f"<p>{escape(line)}</p>\n" for line in results.clairvoyant)


def _runs(results):
    if not results.runs:
        return ""
    seed = results.runs[0].seed
    shown = [run for run in results.runs if run.seed == seed]
    end_s = max(job.ended_s or job.created_s for run in shown for job in run.jobs)
    highest_latency = max((job.latency_s for run in shown for job in run.done), default=1.0)
    highest_plan = max((job.plan for run in shown for job in run.done), default=1)
    highest_wait = max(tokens for run in shown for _, tokens in measures.waiting_tokens(run))
    most_at_work = max(jobs for run in shown for _, jobs in measures.jobs_at_work(run))
    parts = [f"<h2>Over time, seed {seed}</h2>\n<p class='note'>All configurations have the same axes. Shaded: bursts.</p>\n"]
    for run in shown:
        detail = f" <span class='note'>({escape(run.detail)})</span>" if run.detail else ""
        charts = _charts(run, end_s, highest_latency, highest_plan, highest_wait, most_at_work)
        parts.append(f"<h3>{escape(run.configuration)}{detail}</h3>\n<div class='panels'>\n")
        parts += [to_svg(chart) for chart in charts]
        parts.append("</div>\n")
    return "".join(parts)


def _charts(run, end_s, highest_latency, highest_plan, highest_wait, most_at_work):
    ended = sorted(run.done, key=lambda job: job.ended_s)
    missed = [job for job in ended if job.missed]
    common = {"end_s": end_s, "shades": run.bursts}
    arrivals, width = _arrivals(run, end_s)
    return [
        Chart("Load: prompt tokens that arrive (bars) and wait (line)", "tokens", bars=arrivals, bar_s=width,
              steps=[("blue", measures.waiting_tokens(run))], high=max([highest_wait, *(v for _, v in arrivals)]), **common),
        Chart("Plan: in force (line), of each job at its start (dots)", "plan", steps=[("blue", measures.plan_in_force(run))],
              dots=[("blue", [(job.started_s, job.plan) for job in ended])], high=max(1, highest_plan), **common),
        Chart("Jobs at work at once", "jobs", steps=[("blue", measures.jobs_at_work(run))], high=max(1, most_at_work), **common),
        Chart(f"Quality: F1 of each job, mean of {MEAN_OVER} (line)", "F1", high=1.0,
              dots=[("blue", [(job.ended_s, job.f1) for job in ended if job.f1 is not None])],
              lines=[("green", _moving_mean(ended))], **common),
        Chart("Completion: submit to end; red: past the deadline", "seconds", high=highest_latency,
              dots=[("blue", [(job.ended_s, job.latency_s) for job in ended if not job.missed]),
                    ("red", [(job.ended_s, job.latency_s) for job in missed])], **common),
    ]  # fmt: skip


def _arrivals(run: RunRecord, end_s: float):
    """Bars of prompt tokens, and their width in seconds."""
    width = end_s / BINS
    sums = [0.0] * BINS
    for job in run.jobs:
        sums[min(BINS - 1, max(0, int(job.created_s / width)))] += job.prompt_tokens
    return [(number * width, tokens) for number, tokens in enumerate(sums) if tokens], width


def _moving_mean(ended):
    scored = [job for job in ended if job.f1 is not None]
    points = []
    for number, job in enumerate(scored):
        near = scored[max(0, number - MEAN_OVER // 2) : number + MEAN_OVER // 2 + 1]
        points.append((job.ended_s, sum(other.f1 for other in near) / len(near)))
    return points
