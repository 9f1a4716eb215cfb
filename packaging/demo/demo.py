#!/usr/bin/env python3
"""Starts dslad and one CPU worker in a temporary folder, runs the demo model's jobs, shows what came of them; then the
same jobs again with half, three quarters and all of the model's layers converted; last, many at once, on plan 0 and under
the policy. With --model it runs one's own model instead: a summary of a chapter of "Alice" and of "The Selfish Giant" and questions
about them, and the plans that the model's chain has.

Everything it starts ends with it; its folder is removed unless --keep is given. Standard library only.
"""

import argparse
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import burst

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parent / "demo-model" / "model"
DOCUMENTS = HERE.parent / "demo-model" / "documents"
START_TIMEOUT_S = 600  # gigabytes may have to be read
JOBS_TIMEOUT_S = 3600


def say(text):
    bold = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold[0]}== {text}{bold[1]}", flush=True)


class Service:
    """dslad and a worker as children; their logs and state lie in `folder`."""

    def __init__(self, binaries, folder, model):
        self.binaries, self.folder, self.model, self.children = binaries, folder, model, []
        self.jobs_url = f"ipc://{folder}/jobs.sock"
        self.workers_url = f"ipc://{folder}/workers.sock"

    def start(self):
        self.spawn("dslad", "--state-dir", self.folder, "--jobs", self.jobs_url, "--workers", self.workers_url,
                   "--events", f"ipc://{self.folder}/events.sock")
        self.spawn("dslad-worker", "--connect", self.workers_url, "--model", self.model, "--device", "cpu")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.has_worker():
            if time.monotonic() > deadline or any(child.poll() is not None for child in self.children):
                self.fail("dslad or its worker did not start")
            time.sleep(0.1)

    def spawn(self, name, *arguments):
        with open(self.folder / f"{name}.log", "wb") as log:
            command = [self.binaries / name, *arguments]
            self.children.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log))

    def has_worker(self):
        answer = self.ctl("status", "--json", check=False, stderr=subprocess.DEVNULL)
        return bool(answer) and bool(json.loads(answer).get("workers"))

    def ctl(self, *arguments, check=True, **options):
        """Standard output of dslactl."""
        command = [str(self.binaries / "dslactl"), "--connect", self.jobs_url, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, **options)
        if check and done.returncode != 0:
            self.fail(f"{' '.join(command)} ended with {done.returncode}")
        return done.stdout

    def fail(self, why):
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        sys.exit(f"demo: {why}")

    def stop(self):
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def submit(service, job):
    document = DOCUMENTS / job["document"]
    if job["task"] == "qa":
        questions = [part for q in job["questions"] for part in ("--question", q["question"])]
        arguments = ["submit", "qa", "--document", document, *questions, "--max-tokens", 48]
    else:
        arguments = ["submit", "summarize", document, "--max-tokens", 120]
    # One's own model may have a context that is shorter than a document; what fits is read whole all the same.
    arguments += ["--overflow", "map-reduce"]
    return json.loads(service.ctl(*arguments, "--json").splitlines()[0])["id"]


def wrapped(label, text):
    return textwrap.fill(text, width=100, initial_indent=f"  {label:<9}", subsequent_indent=" " * 11)


def show(job, result):
    """Prints a job's answers beside the expected ones."""
    words = len((DOCUMENTS / job["document"]).read_text().split())
    metrics = result.get("metrics", {})
    print(f"\n{job['document']} ({words} words, {metrics.get('prompt_tokens', '?')} prompt tokens): {job['task']}"
          f", {(metrics.get('prefill_ms', 0) + metrics.get('decode_ms', 0)) / 1000:.1f} s")
    if result["state"] != "succeeded":
        print(wrapped(result["state"], str(result.get("error", ""))))
        return
    if job["task"] == "summarize":
        print(wrapped("summary", result["outputs"][0]["text"]))
        if job.get("summary"):
            print(wrapped("expected", job["summary"]))
        return
    for question, output in zip(job["questions"], result["outputs"]):
        expected = question.get("answer")
        verdict = ""
        if expected:
            matches = output["text"].strip().lower() == expected.strip().lower()
            verdict = "  (right)" if matches else f"  (expected: {expected})"
        print(f"  {question['question']}\n      {output['text']}{verdict}")


def show_database(path):
    for view, columns in (
        ("job_status LIMIT 12", "id, task, state, priority, attempt, worker"),
        ("job_metrics LIMIT 12", "id, printf('%.0f', queue_ms) AS queue_ms, printf('%.0f', prefill_ms) AS prefill_ms, "
                        "printf('%.0f', decode_ms) AS decode_ms, prompt_tokens, output_tokens, plan"),
        ("layer_status", "layer, conversion_order, state, distilled, plan"),
    ):
        query = f"SELECT {columns} FROM {view}"
        print(f"\n$ sqlite3 {path.name} \"SELECT ... FROM {view}\"")
        subprocess.run(["sqlite3", "-readonly", "-header", "-column", str(path), query], check=True)


def questions_right(jobs, results):
    """(exactly answered, asked) of the questions with a known answer."""
    pairs = [(output["text"], question["answer"]) for job, result in zip(jobs, results) if job["task"] == "qa"
             for question, output in zip(job["questions"], result.get("outputs", [])) if question.get("answer")]
    return sum(text.strip().lower() == answer.strip().lower() for text, answer in pairs), len(pairs)


def run_jobs(service, jobs):
    """The jobs' results, and the seconds from the first submission to the last result."""
    start = time.monotonic()
    ids = [submit(service, job) for job in jobs]
    print("ids", *ids)
    # Progress goes to the terminal; a failed job is shown with the results, not hidden here.
    service.ctl("wait", *ids, "--timeout", JOBS_TIMEOUT_S, check=False)
    seconds = time.monotonic() - start
    return [json.loads(service.ctl("result", job_id, "--json", check=False)) for job_id in ids], seconds


def row_of(plan, jobs, results, seconds):
    metrics = [result.get("metrics", {}) for result in results]
    right, asked = questions_right(jobs, results)
    return (f"{plan:>4}  {right:>3} of {asked:<3}  {seconds:>7.1f} s  {sum(m.get('prefill_ms', 0) for m in metrics):>9.0f} ms"
            f"  {sum(m.get('decode_ms', 0) for m in metrics):>9.0f} ms")


def layers_of(service):
    return json.loads(service.ctl("layers", "--json"))["models"][0]["layers"]


def distilled(layers):
    return sum(bool(layer["distilled"]) for layer in layers)


def compare_plans(service, jobs, first):
    """The same jobs with more and more layers converted; `first`: results and seconds of plan 0."""
    layers = layers_of(service)
    rows = [row_of(0, jobs, *first)]
    for plan in (len(layers) // 2, len(layers) * 3 // 4, len(layers)):
        if distilled(layers) < plan:
            print(f"the model's chain has no plan {plan}")
            continue
        service.ctl("plan", "set", plan)
        rows.append(row_of(plan, jobs, *run_jobs(service, jobs)))
    print("\nplan  right         all jobs        prefill        decode  (plan n: n layers converted)")
    print("\n".join(rows))


def own_logbooks(service):
    """The demo model's documents are about nothing that another could know."""
    return service.model == MODEL


def run(service):
    say("Starting dslad and one CPU worker")
    service.start()
    print(f"state in {service.folder}")
    subprocess.run([service.binaries / "dslad-model", "inspect", service.model], check=False)

    jobs = json.loads((DOCUMENTS / "jobs.json").read_text())
    if not own_logbooks(service):
        jobs = [job for job in jobs if not job["document"].startswith("logbook")]
    say(f"Submitting {len(jobs)} jobs; an accepted job is on disk")
    results, seconds = run_jobs(service, jobs)

    say("Results")
    for job, result in zip(jobs, results):
        show(job, result)
    right, asked = questions_right(jobs, results)
    print(f"\n{right} of {asked} questions answered exactly as expected"
          f"{' (a small model; see its card)' if own_logbooks(service) else ', word for word'}")

    layers = layers_of(service)
    if distilled(layers) >= len(layers) // 2:
        say("The same jobs with half, three quarters and all of the layers as dual-state linear attention")
        compare_plans(service, jobs, (results, seconds))

        say("A burst: on plan 0, and under the policy, which chooses each job's plan")
        burst.show(service, jobs, run_jobs, questions_right)
    else:
        print("The model has no conversion chain of half its layers: dslad-model distil makes one; until then all runs on plan 0.")

    say("The job and layer tables, straight from the database file")
    show_database(service.folder / "dslad.db")


def main():
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path, help="the folder with dslad, dslad-worker, dslad-model and dslactl")
    parser.add_argument("--model", type=pathlib.Path, default=MODEL, help="a Hugging Face folder or a GGUF file (default: the demo model)")
    parser.add_argument("--keep", action="store_true", help="leave the state and the logs")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dslad-demo-"))
    service = Service(options.binaries.resolve(), folder, options.model.absolute())
    try:
        run(service)
    finally:
        say("Stopping what was started")
        service.stop()
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            print(f"removed {folder}")


if __name__ == "__main__":
    main()
