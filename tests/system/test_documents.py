"""The documents, held to what the programs do: each query, client, configuration and list of names in docs/ is tried."""

import os
import re
import subprocess
import sys
import unittest

import wire
from harness import BIN, PATIENCE, SOURCE, SystemTest, until


def section(document, heading):
    """The text from a heading to the next of its kind."""
    text = (SOURCE / "docs" / document).read_text()
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)


def code(document, heading):
    """The indented lines of a section."""
    return "".join(line[4:] + "\n" for line in section(document, heading).splitlines() if line.startswith("    "))


class Catalog(unittest.TestCase):
    def test_each_known_message_is_explained_and_no_other(self):
        header = (SOURCE / "base/process/known_message.h").read_text()
        known = re.findall(r'KnownMessage k\w+\{"(\w+)"\};', header)
        catalog = (SOURCE / "packaging/systemd/dslad.catalog").read_text()
        entries = re.findall(r"^-- (\w+)\nSubject: .+\nDefined-By: dslad\nDocumentation: (.+)\n\n(?=\S)", catalog, re.M)
        self.assertEqual(known, [entry[0] for entry in entries])
        self.assertEqual(len(set(known)), len(known))
        self.assertTrue(all(re.fullmatch("[0-9a-f]{32}", one) for one in known), known)
        for page in re.findall(r"man:([\w.-]+)\((\d)\)", catalog):
            self.assertTrue((SOURCE / "docs/man" / ".".join(page)).exists(), page)
        logged = "".join(path.read_text() for path in (SOURCE / "daemon").rglob("*.cc"))
        for field in re.findall(r"@DSLAD_(\w+)@", catalog):
            self.assertIn(f'"{field}"', logged)


class Arrows(unittest.TestCase):
    LIBRARIES = {"sqlite": "store", "policy_simulation": "policy", "service_report": "report"}  # that a folder has besides

    def test_folders_of_the_daemon_include_and_link_what_the_design_says_and_no_more(self):
        table = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", section("design.md", "Folders and their arrows"), re.M))
        folders = {path.parent.name for path in (SOURCE / "daemon").glob("*/*.cc")}
        self.assertEqual(folders, set(table))
        for folder, cell in table.items():
            here = SOURCE / "daemon" / folder
            text = "".join(path.read_text() for path in here.iterdir() if path.suffix in (".h", ".cc"))
            included = set(re.findall(r'^#include "daemon/(\w+)/', text, re.M)) - {folder}
            links = " ".join(re.findall(r"LINK ([^)]*)", (here / "CMakeLists.txt").read_text()))
            linked = {self.LIBRARIES.get(name, name) for name in re.findall(r"dslad_(\w+)", links)} & folders - {folder}
            allowed = set(re.findall(r"`(\w+)`", cell))
            self.assertEqual((allowed, allowed), (included, linked), folder)

    def test_the_tool_includes_of_the_daemon_what_the_design_says_and_no_more(self):
        cell = re.search(r"^\| `ctl/` \|.*of `daemon/` (.+) \|$", section("design.md", "Folders and their arrows"), re.M).group(1)
        text = "".join(path.read_text() for path in (SOURCE / "ctl").iterdir() if path.suffix in (".h", ".cc"))
        self.assertEqual({f"{folder}/" for folder in re.findall(r"`(\w+)`", cell)}, set(re.findall(r'#include "daemon/(\w+/|\w+)', text)))
        library = re.search(r"LINK ([^)]*)", (SOURCE / "ctl/CMakeLists.txt").read_text()).group(1)
        self.assertEqual({"schema", "digest", "keys", "process", "policy_simulation", "service_report"},
                         set(re.findall(r"dslad_(\w+)", library)))


class Documents(SystemTest):
    def run_jobs(self):
        """A daemon with something to tell: answers, and a converted layer."""
        self.start_daemon()
        self.start_worker()
        with self.peer() as client:
            ids = client.submit(wire.generate(), {"task": "qa", "document": "Tom is here.", "questions": ["Who?"],
                                                  "options": {"max_tokens": 4}})
            client.wait(*ids)
            client.request("plan_set", {"plan": 1, "allow_undistilled": True})

    def test_the_ten_line_client_of_the_protocol_works(self):
        self.start_daemon()
        self.start_worker()
        (self.folder / "report.txt").write_text("A cat sat on a mat.")
        program = code("protocol.md", "A client in ten lines")
        self.assertIn("ipc:///run/dslad/jobs.sock", program)
        program = program.replace("ipc:///run/dslad/jobs.sock", self.jobs_url)
        done = subprocess.run([sys.executable, "-c", program], cwd=self.folder, capture_output=True, encoding="utf-8",
                              timeout=PATIENCE)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(self.ctl_ok("result", 1), done.stdout)

    def test_each_documented_query_runs(self):
        self.run_jobs()
        queries = [query for query in code("database.md", "Questions people ask").split(";") if query.strip()]
        self.assertGreater(len(queries), 5)
        for query in queries:
            with self.subTest(query=query):
                self.sql(query)

    def test_each_view_has_exactly_the_documented_columns(self):
        self.run_jobs()
        views = {row["name"] for row in self.sql("SELECT name FROM sqlite_schema WHERE type = 'view'")}
        paragraphs = dict(re.findall(r"^\*\*(\w+)\*\*: (.*?)(?=\n\n)", section("database.md", "Views"), re.M | re.S))
        self.assertEqual(views, set(paragraphs))
        for view, text in paragraphs.items():
            columns = [row["name"] for row in self.sql(f"SELECT * FROM pragma_table_info('{view}')")]
            outside_brackets = re.sub(r"\([^()]*\)", "", text)
            self.assertEqual(columns, re.findall(r"`(\w+)`", outside_brackets), view)

    def test_each_documented_counter_is_counted(self):
        self.start_daemon()
        paragraph = re.search(r"^\*Counters\*: (.*?)(?=\n\n)", section("protocol.md", "Clients"), re.M | re.S).group(1)
        with self.peer() as client:
            self.assertEqual(set(re.findall(r"`(\w+)`", paragraph)), set(client.request("stats")["counters"]))

    def test_each_message_of_the_source_is_in_the_protocol_and_the_other_way_round(self):
        kinds = set()
        for header in (SOURCE / "schema").glob("*_messages.h"):
            kinds |= set(re.findall(r'kKind = "(\w+)"', header.read_text()))
        text = (SOURCE / "docs/protocol.md").read_text()
        self.assertEqual(set(), {kind for kind in kinds if f"`{kind}`" not in text})
        tables = re.findall(r"^\| `(\w+)` \|", section("protocol.md", "Clients") + section("protocol.md", "Workers"), re.M)
        self.assertEqual(set(), set(tables) - kinds)

    def test_each_request_is_answered_with_the_documented_kind_and_keys(self):
        self.run_jobs()
        bodies = {"submit": {"jobs": [wire.generate()]}, "job": {"id": 1}, "result": {"id": 1}, "wait": {"ids": [1]},
                  "cancel": {"ids": [1]}, "requeue": {"ids": [1]}, "policy_explain": {"id": 1}, "plan_set": {"plan": 0},
                  "queue_set": {"mode": "open"}, "purge": {"label": "none"}, "count": {"label": "none"}}
        rows = re.findall(r"^\| `(\w+)` \|[^|]*\| `(\w+)`:?(.*) \|$", section("protocol.md", "Clients"), re.M)
        self.assertGreater(len(rows), 17)
        client = self.peer()  # one for all: a backup or a check is its client's
        self.addCleanup(client.close)
        for kind, reply_kind, _ in rows:
            with self.subTest(request=kind):
                client.send(kind, bodies.get(kind, {}), 7)
                reply = client.receive()
                if kind == "backup_begin":
                    number = {"backup": reply.body["backup"]}
                    bodies |= {"backup_show": number, "backup_read": number, "backup_end": number}
                    until(lambda: client.request("backup_show", number)["ready"], "the backup is ready")
                elif kind == "integrity_begin":
                    bodies["integrity_show"] = {"check": reply.body["check"]}
                self.assertEqual((reply_kind, 7), (reply.kind, reply.id), reply)
                if reply_kind != "job_info":  # a paragraph of its own
                    known = {key for _, other, keys in rows if other == reply_kind for key in re.findall(r"`(\w+)`", keys)}
                    self.assertEqual(set(), set(reply.body) - known)

    def test_each_documented_refusal_is_one(self):
        self.start_daemon("--set", "queue.max_queued=2")
        with self.peer() as client:
            keyed = client.submit(wire.generate(idempotency_key="k"))[0]
            client.request("cancel", {"ids": [keyed]})
            client.submit(wire.generate(), wire.generate())
            asked = {
                ("submit", "refused"): {"jobs": [wire.generate("other", idempotency_key="k")]},
                ("submit", "resource_exhausted"): {"jobs": [wire.generate()]},
                ("job", "not_found"): {"id": 99}, ("result", "not_found"): {"id": 99},
                ("policy_explain", "not_found"): {"id": 99}, ("wait", "not_found"): {"ids": [1, 99]},
                ("requeue", "resource_exhausted"): {"ids": [keyed]}, ("plan_set", "unavailable"): {"plan": 1},
                ("backup_show", "not_found"): {"backup": 99}, ("backup_read", "not_found"): {"backup": 99},
                ("backup_end", "not_found"): {"backup": 99}, ("integrity_show", "not_found"): {"check": 99},
            }
            # These need a clock, a crowd or a worker: test_plan, flow_test, backups_test, and below.
            elsewhere = {("wait", "resource_exhausted"), ("plan_set", "refused"), ("submit", "unavailable"),
                         ("backup_begin", "resource_exhausted"), ("integrity_begin", "resource_exhausted"),
                         ("backup_read", "refused")}
            table = section("protocol.md", "Clients").partition("### What a request is refused with")[2]
            documented = {(kind, code) for kinds, code in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `(\w+)` \|", table, re.M)
                          for kind in re.findall(r"\w+", kinds)}
            self.assertEqual(documented, set(asked) | elsewhere)
            for (kind, code), body in asked.items():
                with self.subTest(request=kind, error=code), self.assertRaises(wire.Refusal) as refusal:
                    client.request(kind, body)
                self.assertEqual(getattr(wire, code.upper()), refusal.exception.code)
            client.request("queue_set", {"mode": "draining"})
            with self.assertRaises(wire.Refusal) as refusal:
                client.submit(wire.generate())
            self.assertEqual(wire.UNAVAILABLE, refusal.exception.code)

    def test_the_manuals_configuration_is_sound(self):
        path = self.folder / "dslad.toml"
        path.write_text(code("manual.md", "Configuration of dslad"))
        done = subprocess.run([BIN / "dslad", "--config", path, "--check-config"], capture_output=True,
                              encoding="utf-8", timeout=PATIENCE, env=os.environ)
        self.assertEqual(0, done.returncode, done.stderr)

    def test_the_manuals_examples_of_dslactl_are_understood(self):
        self.start_daemon()
        (self.folder / "a.txt").write_text("A document.")
        (self.folder / "b.txt").write_text("Another one.")
        text = code("manual.md", "Jobs") + code("manual.md", "Deadlines, floors and the policy")
        lines = [line.split("#")[0].strip() for line in text.splitlines()]
        # simulate needs a worker whose speed is known: test_ctl_simulate has one
        examples = [line for line in lines
                    if line.startswith("dslactl") and "--wait" not in line and "simulate" not in line]
        self.assertTrue(examples)
        for example in examples:
            done = subprocess.run(example, shell=True, cwd=self.folder, capture_output=True, encoding="utf-8",
                                  timeout=PATIENCE, env={**os.environ, "DSLAD_CONNECT": self.jobs_url,
                                                         "PATH": f"{BIN}:{os.environ['PATH']}"})
            self.assertEqual(0, done.returncode, f"{example}: {done.stderr}")


if __name__ == "__main__":
    unittest.main()
