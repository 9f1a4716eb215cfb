"""dslad-model eval as a user runs it: usage, errors, tables, killed and resumed."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

MODEL_TOOL = pathlib.Path(os.environ["DSLAD_BIN"]) / "dslad-model"
PLANTED_FACTS = pathlib.Path(os.environ["DSLAD_SOURCE"]) / "bench/planted_facts"
GOLDEN = pathlib.Path(os.environ["DSLAD_SOURCE"]) / "tests/golden"
PATIENCE = 300.0
STORY = "Once upon a time, there was a little girl named Lily. She had a big red ball and she loved it very much. "


def question_line(name):
    items = [{"question": "Who had it?", "answers": [name], "kind": "early"},
             {"question": "What colour is the ball?", "answers": ["It is red."], "kind": "late",
              "evidence": "a big red ball"},
             {"question": "When?", "answers": []}]
    return {"id": name, "task": "qa", "document": f"{name} had a ball. {STORY}", "items": items}


class Eval(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.qa = self.write("qa.jsonl", [question_line(name) for name in ("Tom", "Sam", "Max", "Ben")])
        self.summaries = self.write("summaries.jsonl", [
            {"id": "a", "task": "summarize", "document": STORY, "items": [{"summaries": ["Lily plays.", "A ball."]}]}])
        self.choices = self.write("choices.jsonl", [
            {"id": "a", "question": "there was a little girl named", "choices": ["Lily", "Xylophon"], "answer": 0}])
        self.text = self.folder / "story.txt"
        self.text.write_text(STORY * 8)

    def write(self, name, lines):
        path = self.folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def command(self, *arguments, model="stories260K"):
        return [str(part) for part in (MODEL_TOOL, "eval", GOLDEN / model, "--threads", 1, *arguments)]

    def run_eval(self, *arguments, exit_status=0, model="stories260K"):
        done = subprocess.run(self.command(*arguments, model=model), capture_output=True, encoding="utf-8",
                              timeout=PATIENCE)
        self.assertEqual(exit_status, done.returncode, done.stdout + done.stderr)
        return done

    def test_wrong_usage_ends_with_2(self):
        self.run_eval(exit_status=2)
        self.run_eval(self.qa, "--plan", 1, "--plans", "all", exit_status=2)
        self.run_eval(self.qa, "--resume", exit_status=2)
        self.run_eval(self.qa, "--max-tokens", 0, exit_status=2)
        self.run_eval(self.qa, "--dtype", "f16", exit_status=2)

    def test_what_cannot_be_evaluated_is_named_and_ends_with_1(self):
        broken = self.folder / "broken.jsonl"
        broken.write_text(json.dumps(question_line("Tom")) + "\n" + '{"id": "b", "task": "qa", "document": "D"}\n')
        cases = (
            ((self.folder / "absent.jsonl",), "absent.jsonl"),
            ((broken,), "broken.jsonl: line 2: items is absent"),
            ((self.qa, self.qa), "named twice"),
            ((self.qa, "--plans", "0;4"), "plans '0;4' are no list"),
            ((self.qa, "--plan", 6), "plan 6 is out of range; the model has 5 layers"),
            ((self.text, "--window", 600), "out of range"),
            ((self.qa, "--write-chain", "--plan", 1), "dsla holds no chain"),
            ((self.qa, "--out", self.folder / "no" / "out.jsonl"), "out.jsonl"),
        )
        for arguments, message in cases:
            with self.subTest(arguments=arguments):
                done = self.run_eval(*arguments, exit_status=1)
                self.assertIn("dslad-model: ", done.stderr)
                self.assertIn(message, done.stderr)
                self.assertEqual("", done.stdout)
        self.assertIn("no model", self.run_eval(self.qa, exit_status=1, model="absent").stderr)

    def test_every_kind_of_file_has_its_scores_by_plan(self):
        done = self.run_eval(self.qa, self.summaries, self.choices, self.text, "--plans", "2", "--max-tokens", 8, "--json",
                             "--window", 128)
        out = json.loads(done.stdout)
        self.assertEqual([0, 2], [plan["plan"] for plan in out["plans"]])
        self.assertEqual(0, out["plans"][0]["kl"])
        self.assertGreater(out["plans"][1]["kl"], 0)
        self.assertEqual(1, out["plans"][0]["perplexity_ratio"])
        qa, summaries, choices, text = out["files"]
        self.assertEqual(["qa", "summarize", "choice", "text"], [file["kind"] for file in out["files"]])
        self.assertEqual((12, 4), (qa["items"], qa["documents"]))
        for name in ("exact_match", "f1", "contains"):
            self.assertLessEqual(qa["plans"][0][name]["low"], qa["plans"][0][name]["mean"])
        self.assertEqual(["early", "late"], [group["group"] for group in qa["plans"][0]["by_kind"]])
        self.assertEqual([12], [group["items"] for group in qa["plans"][1]["by_length"]])
        # Of a document's three questions the first one's answer stands in it, and what the second one rests on.
        self.assertEqual([8], [group["items"] for group in qa["plans"][1]["by_distance"]])
        self.assertLessEqual({"rouge1", "rouge2", "rougeL"}, set(summaries["plans"][1]))
        self.assertIn(choices["plans"][0]["accuracy"]["mean"], (0, 1))
        self.assertGreater(text["plans"][0]["perplexity"], 1)
        self.assertGreater(text["plans"][1]["nats"]["mean"], text["plans"][0]["nats"]["mean"])

    def plant(self, *arguments):
        command = [sys.executable, "-B", PLANTED_FACTS, *arguments]
        return subprocess.run([str(part) for part in command], capture_output=True, encoding="utf-8", timeout=PATIENCE)

    def test_planted_facts_stand_once_in_the_quarter_that_they_are_of(self):
        text = self.folder / "long.txt"
        text.write_text(STORY * 40)
        done = self.plant(text, "--words", 60, 400, "--documents", 3)
        self.assertEqual("", done.stderr)
        documents = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(6, len(documents))
        for document in documents:
            words = document["document"].split()
            for quarter, item in enumerate(document["items"]):
                self.assertEqual(1, document["document"].count(item["evidence"]))
                place = document["document"][:document["document"].index(item["evidence"])].count(" ")
                self.assertAlmostEqual((quarter + 0.5) / 4, place / len(words), delta=0.25)
        self.assertEqual(done.stdout, self.plant(text, "--words", 60, 400, "--documents", 3).stdout)
        self.assertNotEqual(done.stdout, self.plant(text, "--words", 60, 400, "--documents", 3, "--seed", 2).stdout)

        facts = self.folder / "facts.jsonl"
        facts.write_text(self.plant(text, "--words", 60, "--documents", 2).stdout)
        out = json.loads(self.run_eval(facts, "--max-tokens", 8, "--json").stdout)["files"][0]
        self.assertEqual(8, sum(group["items"] for group in out["plans"][0]["by_distance"]))
        self.assertEqual(["first quarter", "second quarter", "third quarter", "last quarter"],
                         [group["group"] for group in out["plans"][0]["by_kind"]])

    def test_facts_cannot_be_planted_in_a_text_that_is_too_short(self):
        done = self.plant(self.text, "--words", 100_000)
        self.assertEqual(2, done.returncode)
        self.assertIn("name a longer one", done.stderr)
        self.assertIn("absent.txt", self.plant(self.folder / "absent.txt").stderr)

    def test_the_distance_of_a_fact_is_that_of_its_evidence(self):
        results = self.folder / "results.jsonl"
        self.run_eval(self.qa, "--max-tokens", 2, "--out", results)
        first, second, third = [json.loads(line) for line in results.read_text().splitlines()
                                if '"id":"Tom"' in line and '"plan":0' in line]
        self.assertEqual(first["tokens"], first["distance"])  # the answer begins the document
        self.assertLess(second["distance"], 0.7 * second["tokens"])
        self.assertGreater(second["distance"], 0.2 * second["tokens"])
        self.assertNotIn("distance", third)

    def test_the_table_names_files_and_plans(self):
        done = self.run_eval(self.qa, self.text, "--limit", 2, "--max-tokens", 4)
        self.assertIn(f"{self.qa} (qa): 2 items", done.stdout)
        self.assertIn("by kind: exact match / F1", done.stdout)
        self.assertIn("perplexity", done.stdout)

    def test_a_killed_run_goes_on_where_it_was(self):
        out = self.folder / "out.jsonl"
        arguments = (self.qa, self.text, "--plans", "0,1", "--max-tokens", 8, "--window", 64, "--json")
        whole = self.run_eval(*arguments).stdout
        child = subprocess.Popen(self.command(*arguments, "--out", out), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while child.poll() is None and not (out.exists() and out.read_bytes().count(b"\n") > 3):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        with out.open("ab") as file:
            file.write(b'{"file": "cut o')
        self.assertEqual(whole, self.run_eval(*arguments, "--out", out, "--resume").stdout)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual(len(lines), len({json.dumps([line.get(key) for key in ("file", "id", "item", "plan")])
                                          for line in lines}))

        self.assertIn("--resume", self.run_eval(*arguments, "--out", out, exit_status=1).stderr)
        other = self.run_eval(*arguments, "--out", out, "--resume", exit_status=1, model="babyllama")
        self.assertIn("was made with model", other.stderr)
        finer = self.run_eval(*arguments, "--dtype", "f32", "--out", out, "--resume", exit_status=1)
        self.assertIn("was made with dtype bf16, but this is f32", finer.stderr)

    def test_results_of_other_prompts_are_not_mixed(self):
        model = self.folder / "model"
        shutil.copytree(GOLDEN / "stories260K", model)
        out = self.folder / "out.jsonl"
        self.run_eval(self.summaries, "--max-tokens", 4, "--out", out, model=model)
        (model / "dslad.toml").write_text('[prompt]\nsummarize = "{document} In short:"\n')
        again = self.run_eval(self.summaries, "--max-tokens", 4, "--out", out, "--resume", exit_status=1, model=model)
        self.assertIn("was made with settings", again.stderr)

    def test_its_status_line_fits_the_window(self):
        text = self.folder / f"{'ü' * 60}.txt"
        text.write_text(STORY * 8)
        for columns, room in ((40, 39), (41, 40), (0, 79)):  # 0: a terminal that does not say
            with self.subTest(columns=columns):
                first, *shown, last = self.on_terminal(columns, self.command(text)).split(b"\r\x1b[K")
                self.assertEqual((b"", b""), (first, last))
                self.assertTrue(shown)
                for line in shown:
                    self.assertIn(len(line), (room - 1, room))  # no character is cut in two
                    self.assertTrue(str(text).startswith(line.decode()))

    def on_terminal(self, columns, command):
        """What the command writes to a terminal of this width on standard error."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        written = bytearray()
        with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # EIO: its other end is closed
            while part := terminal.read(4096):
                written += part
        self.assertEqual(0, child.wait(timeout=PATIENCE))
        return bytes(written)

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run(self.command(self.choices, "--json"), stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=PATIENCE)
        self.assertEqual(1, done.returncode)
        self.assertIn("No space left on device", done.stderr)


if __name__ == "__main__":
    unittest.main()
