"""What each role may do: every request in every role, as the table in docs/security.md says; and users of this machine,
who are told apart by the kernel."""

import json
import os
import re
import shutil
import subprocess
import unittest

import wire
import zmq
from fake_worker import FakeWorker
from harness import BIN, SOURCE, SystemTest
from keys_case import KeysTest
from wire import generate

ROLES = {"submit": "sue", "read": "rita", "admin": "ada"}


def table():
    """{request: {role: "own", "all" or "no"}}"""
    text = (SOURCE / "docs/security.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \|$", text, re.M)
    return {request: dict(zip(ROLES, words, strict=True)) for request, *words in rows}


class Matrix(KeysTest):
    """Sam's job is there; the others try what they may do with it."""

    def setUp(self):
        super().setUp()
        self.start_everything()
        self.sam = self.connected("sam")
        [self.job] = self.sam.submit(generate(labels=["common"], idempotency_key="k"))
        self.peers = {role: self.connected(name) for role, name in ROLES.items()}

    def body(self, request):
        job = self.job
        return {
            "submit": {"jobs": [generate()]}, "count": {"label": "common"}, "job": {"id": job}, "result": {"id": job},
            "wait": {"ids": [job], "timeout_ms": 0}, "policy_explain": {"id": job}, "cancel": {"ids": [job]},
            "requeue": {"ids": [job]}, "queue_set": {"mode": "open"}, "policy_set": {"policy": "deadline"},
        }.get(request, {})

    def outcome(self, role, request):
        """What the role was let do: "no", "own" where Sam's job did not exist for it, else "all"."""
        if request == "purge":
            self.sam.request("cancel", {"ids": [self.job]})  # it must have ended
        try:
            reply = self.peers[role].request(request, self.body(request))
        except wire.Refusal as refusal:
            if refusal.code == wire.REFUSED and f"whose role is {role}" in refusal.message:
                return "no"
            if refusal.message == f"there is no job {self.job}":
                return "own"
            # It was let ask: no worker is there to take a plan, and of backups and checks there is no number 0.
            self.assertIn((request, refusal.code), {
                ("plan_set", wire.UNAVAILABLE), ("backup_show", wire.NOT_FOUND), ("backup_read", wire.NOT_FOUND),
                ("backup_end", wire.NOT_FOUND), ("integrity_show", wire.NOT_FOUND)}, refusal)
            return "all"
        return "all" if self.seen(request, reply) else "own"

    def seen(self, request, reply):
        match request:
            case "list":
                return self.job in [job["id"] for job in reply["jobs"]]
            case "count":
                return sum(reply["jobs"].values()) > 0
            case "cancel" | "requeue":
                return reply["not_found"] == []
            case "purge":
                return self.sql("SELECT id FROM job_status WHERE id = ?", self.job) == []
            case _:
                return True

    def test_every_request_in_every_role(self):
        requests = table()
        self.assertGreaterEqual(len(requests), 20)
        for role in ("submit", "read", "admin"):
            for request, rights in requests.items():
                if request == "submit":  # what is made is one's own
                    expected = "no" if rights[role] == "no" else "all"
                else:
                    expected = rights[role]
                with self.subTest(role=role, request=request):
                    self.assertEqual(expected, self.outcome(role, request))

    def test_the_table_has_every_request_of_the_protocol(self):
        section = (SOURCE / "docs/protocol.md").read_text().partition("\n## Clients\n")[2].partition("\n## ")[0]
        [rows] = re.findall(r"^\| request \| body \| reply \|\n(.*?)\n\n", section, re.M | re.S)
        self.assertEqual(set(re.findall(r"^\| `(\w+)`", rows, re.M)), set(table()))

    def test_anothers_job_is_answered_as_one_that_was_never_there(self):
        sue = self.peers["submit"]
        never = self.job + 1000
        for request in ("job", "result", "policy_explain"):
            theirs, none = (self.refusal(sue, request, {"id": job}) for job in (self.job, never))
            self.assertEqual(theirs.message, none.message.replace(str(never), str(self.job)))
        [own] = sue.submit(generate())
        self.assertEqual(wire.NOT_FOUND, self.refusal(sue, "wait", {"ids": [own, self.job]}).code)
        reply = sue.request("cancel", {"ids": [own, self.job]})
        self.assertEqual(([own], [self.job]), (reply["cancelled"], reply["not_found"]))
        self.assertEqual("queued", self.sam.job(self.job)["state"])

    def test_everybody_has_idempotency_keys_of_his_own(self):
        sue = self.peers["submit"]
        [other] = sue.submit(generate("another text", idempotency_key="k"))
        self.assertNotEqual(self.job, other)
        again = sue.request("submit", {"jobs": [generate("another text", idempotency_key="k")]})
        self.assertEqual(([other], [True]), (again["ids"], again["duplicates"]))
        self.assertNotIn(str(self.job), self.refusal(sue, "submit", {"jobs": [generate(idempotency_key="k")]}).message)
        self.assertEqual([("key:sam", "k"), ("key:sue", "k")],
                         [tuple(row) for row in self.sql("SELECT owner, idempotency_key FROM job_status ORDER BY id")])

    def test_own_jobs_are_listed_by_each_of_the_indexes(self):
        sue = self.peers["submit"]
        own = sue.request("submit", {"jobs": [generate(labels=["common"])], "client": "c"})["ids"]
        self.sam.request("submit", {"jobs": [generate()], "client": "c"})
        for body in ({}, {"label": "common"}, {"client": "c"}, {"state": "queued"}, {"owner": "key:sue"}):
            self.assertEqual(own, [job["id"] for job in sue.request("list", body)["jobs"]], body)
        self.assertEqual([], sue.request("list", {"owner": "key:sam"})["jobs"])
        self.assertEqual(1, sue.request("count", {"client": "c"})["jobs"]["queued"])
        rita = self.peers["read"]
        self.assertEqual(own, [job["id"] for job in rita.request("list", {"owner": "key:sue"})["jobs"]])
        sue.request("cancel", {"ids": own})
        self.sam.request("cancel", {"ids": [self.job]})
        self.assertEqual(own, [job["id"] for job in sue.request("list", {"ended_after": {"time_ms": 0}})["jobs"]])
        self.assertEqual({"jobs": 1, "more": False}, sue.request("purge"))
        self.assertEqual("cancelled", self.sam.job(self.job)["state"])

    def test_dslactl_shows_owners_where_there_are_several(self):
        self.peers["submit"].submit(generate())
        out = self.ctl_ok("list", *self.options("rita"))
        self.assertRegex(out, r"OWNER")
        self.assertIn("key:sam", out)
        self.assertNotIn("OWNER", self.ctl_ok("list", *self.options("sam")))
        self.assertNotIn("key:sam", self.ctl_ok("list", "--owner", "key:sue", *self.options("rita")))
        done = self.ctl("pause", *self.options("sue"))
        self.assertEqual((4, 1), (done.returncode, done.stderr.count("\n")))
        self.assertIn("whose role is submit", done.stderr)


@unittest.skipUnless(os.getuid() == 0, "only root can be several users")
class Users(SystemTest):
    """Over ipc the kernel says who asks. 65534 is nobody, and the two above are nobody's."""

    def open_to_all(self):
        """The test's folder and the sockets, for whom the modes would keep out."""
        self.folder.chmod(0o755)
        for socket in self.folder.glob("*.sock"):
            socket.chmod(0o666)

    def as_user(self, uid, *arguments, group=65534):
        """dslactl as another user."""
        return subprocess.run(
            [str(self.ctl_program), *map(str, arguments)], capture_output=True, encoding="utf-8", timeout=120,
            user=uid, group=group, extra_groups=[], cwd="/",
            env={**self.environment_of_another_user(), "DSLAD_CONNECT": self.jobs_url},
        )

    def setUp(self):
        super().setUp()
        self.ctl_program = self.folder / "dslactl"  # where other users can run it
        shutil.copy(BIN / "dslactl", self.ctl_program)

    def submit_as(self, uid):
        done = self.as_user(uid, "submit", "generate", "--prompt", "x", "--json")
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)["id"]

    def test_users_see_their_own_jobs_and_root_sees_all(self):
        self.start_daemon()
        self.open_to_all()
        one, two = self.submit_as(65531), self.submit_as(65532)
        self.assertEqual([one], [job["id"] for job in self.jobs_of(65531)])
        self.assertEqual(4, self.as_user(65531, "cancel", two).returncode)
        self.assertIn("not known", self.as_user(65531, "cancel", two).stderr)
        self.assertIn(f"there is no job {two}", self.as_user(65531, "result", two).stderr)
        self.assertEqual(4, self.as_user(65531, "pause").returncode)
        with self.peer() as root:
            self.assertEqual({"uid:65531", "uid:65532"}, {job["owner"] for job in root.request("list")["jobs"]})
            self.assertEqual("admin", root.request("status")["role"])

    def jobs_of(self, uid, **others):
        done = self.as_user(uid, "list", "--json", **others)
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)["jobs"]

    def test_lists_of_users_give_roles(self):
        self.start_daemon("--set", "access.admin=@65501", "--set", "access.read=65532", "--set", "access.submit=65531")
        self.open_to_all()
        job = self.submit_as(65531)
        self.assertEqual([job], [job["id"] for job in self.jobs_of(65532)])
        self.assertEqual(4, self.as_user(65532, "cancel", job).returncode)
        self.assertEqual(0, self.as_user(65530, "cancel", job, group=65501).returncode)
        done = self.as_user(65533, "status")
        self.assertEqual(4, done.returncode)
        self.assertIn("user 65533 may not use this daemon", done.stderr)

    def test_an_unknown_user_in_a_list_is_an_error(self):
        daemon = self.start_daemon("--set", "access.read=no-such-user", ready=False)
        daemon.expected_exit = {1}
        self.assertEqual(1, daemon.wait())
        self.assertIn("access.read", daemon.text())
        self.assertIn("no-such-user", daemon.text())

    def test_others_cannot_pass_for_workers(self):
        self.start_daemon()
        self.open_to_all()
        job = self.submit_as(65531)
        child = os.fork()
        if child == 0:
            os._exit(self.work_as(65532))
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        with self.peer() as root:
            self.assertEqual("queued", root.job(job)["state"])

    def work_as(self, uid):
        """In a child: 0 where it was turned away."""
        os.setgid(uid)
        os.setuid(uid)
        zmq.Context._instance = None  # the parent's does not live here
        with FakeWorker(self.workers_url) as worker:
            worker.introduce()
            reply = worker.receive()
        return 0 if reply.kind == "error" and f"user {uid} may not work here" in reply.body["message"] else 1


if __name__ == "__main__":
    unittest.main()
