"""dslactl report: a page about a database, whole and self-contained whatever is in that."""

import html.parser
import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import unittest
import xml.etree.ElementTree

from fake_worker import FakeWorker
from harness import BIN, PATIENCE, SystemTest
from wire import REFUSED, generate

HOSTILE = "<script>alert('x')</script>&amp;\"\x01]]>--><b>"
XHTML = "{http://www.w3.org/1999/xhtml}"
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(html.parser.HTMLParser):
    """What a browser's parser sees: tags that open and close, and what they refer to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.references, self.text = [], set(), [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "style") or name[:2] == "on"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text += data


class Report(SystemTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()
        self.database = self.state_dir / "dslad.db"

    def report(self, *arguments):
        """The page, which must be sound."""
        file = self.folder / "report.html"
        self.ctl_ok("report", "--database", self.database, "--output", file, *arguments)
        page = file.read_text(encoding="utf-8")
        outline = Outline(page)
        self.assertEqual([], outline.open)
        self.assertEqual([], outline.references, "it needs nothing from elsewhere")
        self.assertFalse({"script", "link", "img", "iframe", "object"} & outline.tags)
        self.assertNotRegex(page, r"(?i)url\(|@import|\bnan\b|\binf\b")
        self.tree = xml.etree.ElementTree.fromstring(page)
        self.text = outline.text
        return page

    def rows(self, heading):
        """The cells of the table behind a heading, by row."""
        flat = list(self.tree.iter())
        at = next(i for i, element in enumerate(flat) if element.tag in (f"{XHTML}h2", f"{XHTML}h3")
                  and "".join(element.itertext()).startswith(heading))
        table = next(element for element in flat[at:] if element.tag == f"{XHTML}tbody")
        return [["".join(cell.itertext()) for cell in row] for row in table]

    def test_an_empty_database_has_a_page(self):
        self.report()
        self.assertIn("Nothing yet.", self.text)

    def test_tells_of_jobs_failures_and_conversions(self):
        with self.peer() as client, FakeWorker(self.workers_url, name="lab:1:gpu", capacity=4) as worker:
            worker.hello()
            client.request("submit", {"jobs": [generate(labels=["nightly", "b&w"]) for _ in range(3)], "client": "alice"})
            *good, bad = [worker.take_job() for _ in range(3)]
            for job in good:
                worker.finish(job)
            worker.send_error(bad, REFUSED, "too <long> & wide")
            worker.expect("result_ack")
            worker.plan = 1
            client.send("plan_set", {"plan": 1, "allow_undistilled": True}, 5)
            request = worker.expect("set_plan").body
            layers = [{"layer": 0, "order": 0, "state": "active", "distilled": False}]
            worker.send("plan_result", {"request": request["request"], "plan": 1, "generation": request["generation"],
                                        "changes": [{"layer": 0, "from": "transformer", "to": "active", "reason": "by hand"}],
                                        "layer_info": layers})
            self.assertEqual("plan_reply", client.receive().kind)
            self.report()
        self.assertEqual([["generate", "3", "2", "1"]], [row[:4] for row in self.rows("Jobs by task")])
        self.assertEqual([["alice", "3", "2", "1"]], [row[:4] for row in self.rows("Jobs by client")])
        self.assertEqual([["b&w", "3"], ["nightly", "3"]], [row[:2] for row in self.rows("Jobs by label")])
        self.assertEqual([["failed", "refused", "too <long> & wide", "1"]], [row[:4] for row in self.rows("Failures")])
        self.assertEqual([["lab:1:gpu", "fake", "0", "transformer → active", "1"]],
                         [row[1:6] for row in self.rows("Conversions")])
        self.assertIn(["0", "active", "1", "1"], [row[:4] for row in self.rows("fake")])

    def test_hostile_names_stay_text(self):
        with self.peer() as client, FakeWorker(self.workers_url, name=HOSTILE) as worker:
            worker.hello()
            client.request("submit", {"jobs": [generate(labels=["<i>\"\\"])], "client": HOSTILE})
            worker.send_error(worker.take_job(), REFUSED, HOSTILE)
            worker.expect("result_ack")
        self.report()
        shown = HOSTILE.replace("\x01", "\uFFFD")
        self.assertEqual(shown, self.rows("Jobs by client")[0][0])
        self.assertEqual(shown, self.rows("Failures")[0][2])
        self.assertEqual("<i>\"\\", self.rows("Jobs by label")[0][0])

    def test_many_jobs_make_no_large_page(self):
        self.daemon.finish()
        with sqlite3.connect(self.database) as db:
            numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
            db.execute(f"""INSERT INTO jobs (id, state, task, priority, attempt, max_attempts, created_ms, ended_ms, client,
                           error_code, error_message)
                           {numbers} SELECT i, iif(i % 9, 'succeeded', 'failed'), 'qa', 0, 1, 3, 1750000000000 + i * 7000,
                           1750000009000 + i * 7000, 'client ' || (i % 1000) || ' ' || hex(zeroblob(200)), 'internal',
                           'error ' || i || hex(zeroblob(500)) FROM n""")
            db.execute(f"""INSERT INTO attempts (job_id, attempt, worker, instance, started_ms, ended_ms, outcome, prefill_ms,
                           decode_ms, prompt_tokens, output_tokens, plan)
                           {numbers} SELECT i, 1, 'w' || (i % 50), 'i', 1750000001000 + i * 7000, 1750000009000 + i * 7000,
                           'succeeded', i % 100, i % 1000, 10, 10, i % 40 FROM n""")
            db.execute(f"INSERT INTO job_labels {numbers} SELECT 'label' || (i % 3000), i FROM n")
        db.close()
        page = self.report()
        self.assertLess(len(page.encode()), 1_000_000)
        self.assertIn("50,000", self.text)
        self.assertEqual(20, len(self.rows("Jobs by client")))

    def test_last_leaves_out_older_jobs(self):
        with self.peer() as client:
            client.submit(generate(), generate())
        self.report("--last", "1h")
        self.assertEqual("2", self.rows("Jobs by task")[0][1])
        with sqlite3.connect(self.database) as db:
            db.execute("UPDATE jobs SET created_ms = created_ms - 7200000 WHERE id = 1")
        db.close()
        self.report("--last", "1h")
        self.assertEqual("1", self.rows("Jobs by task")[0][1])

    def test_a_backup_will_do_and_no_daemon_is_asked(self):
        with self.peer() as client:
            client.submit(generate())
        self.ctl_ok("backup", self.folder / "copy.db")
        self.daemon.finish()
        self.database = self.folder / "copy.db"
        self.report()
        self.assertEqual("1", self.rows("Jobs by task")[0][1])

    def test_the_page_goes_where_it_is_wanted(self):
        page = self.ctl_ok("report", "--database", self.database)
        self.assertRegex(page, r"^<!DOCTYPE html>")
        file = self.folder / "page.html"
        said = json.loads(self.ctl_ok("report", "--database", self.database, "--output", file, "--json"))
        self.assertEqual({"file": str(file), "bytes": file.stat().st_size}, said)
        self.assertEqual(0o600, stat.S_IMODE(file.stat().st_mode))

    def test_what_cannot_be_done_is_said_in_a_line(self):
        (self.folder / "text").write_text("no database")
        for arguments, says in (
            (["--database", self.folder / "missing.db", "--output", self.folder / "x"], "missing.db"),
            (["--database", self.folder / "text", "--output", self.folder / "x"], "--database"),
            (["--database", self.database, "--output", self.folder / "no" / "x"], "cannot write"),
        ):
            with self.subTest(arguments=arguments):
                done = self.ctl("report", *arguments)
                self.assertEqual((2, ""), (done.returncode, done.stdout))
                self.assertEqual(1, done.stderr.count("\n"), done.stderr)
                self.assertIn(says, done.stderr)
        self.assertFalse((self.folder / "x").exists())

    def test_a_terminal_gets_no_page(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        done = subprocess.run([str(BIN / "dslactl"), "report", "--database", self.database], stdout=theirs,
                              stderr=subprocess.PIPE, encoding="utf-8", timeout=PATIENCE,
                              env={**os.environ, "TERM": "xterm"})
        self.assertEqual(2, done.returncode)
        self.assertIn("--output", done.stderr)

    def test_colours_follow_the_readers_system_and_the_page_can_be_printed(self):
        style = re.search("<style>(.*)</style>", self.report(), re.S).group(1)
        for rule in ("prefers-color-scheme:dark", "@media print"):
            self.assertIn(rule, style)
        classes = set(re.findall(r'class="([^"]+)"', self.report()))
        named = set(re.findall(r"\.([a-z][a-z0-9]*)", style))
        self.assertEqual(set(), {name for each in classes for name in each.split()} - named)


if __name__ == "__main__":
    unittest.main()
