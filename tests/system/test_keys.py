"""tcp is for those alone whose keys are authorised: right, wrong, missing, removed and misplaced keys."""

import time
import unittest

import wire
import zmq
from fake_worker import FakeWorker
from harness import BIN, SANITIZED, resident_bytes, until
from keys_case import KeysTest
from python_client_case import Asynchronous, Plain, dslad
from wire import generate

USAGE, UNREACHABLE, REFUSED = 2, 3, 4  # exit statuses of dslactl


class Start(KeysTest):
    def fails(self, *says, options=()):
        daemon = self.start_daemon(*options, ready=False)
        daemon.expected_exit = {REFUSED}
        self.assertEqual(REFUSED, daemon.wait(), daemon.text())
        for text in says:
            self.assertIn(text, daemon.text())

    def test_a_daemon_without_keys_refuses_to_listen_on_tcp(self):
        (self.folder / "server").unlink()
        self.fails("listen.jobs", "keys.secret", f"dslactl keygen {self.folder}/server")
        (self.folder / "server.pub").unlink()
        self.make_key("server")
        self.fails("listen.jobs", "keys.authorised", str(self.authorised))
        self.authorise("ada", "admin")
        self.fails("listen.workers", f"{self.authorised}/workers")
        self.authorise("wanda", "workers")
        (self.folder / "server").chmod(0o644)
        self.fails("0644", "chmod 600")
        (self.folder / "server").chmod(0o600)
        self.start_daemon()

    def test_each_socket_on_tcp_needs_keys(self):
        self.jobs_url = f"ipc://{self.folder}/jobs.sock"
        self.fails("listen.events")
        self.events_url = f"ipc://{self.folder}/events.sock"
        self.fails("listen.workers")

    def test_systemds_credential_is_the_default_secret(self):
        credentials = self.folder / "credentials"
        credentials.mkdir()
        (self.folder / "server").rename(credentials / "secret.key")
        (credentials / "secret.key").chmod(0o440)  # as the mask of systemd's ACL shows it
        self.authorise("ada", "admin")
        self.authorise("wanda", "workers")
        self.daemon_options = self.daemon_options[2:]
        self.start_daemon(env={"CREDENTIALS_DIRECTORY": str(credentials)})

    def test_a_keys_folder_is_made_for_its_owner_alone(self):
        key = self.folder / "home/.config/dslad/key"
        self.ctl_ok("keygen", key)
        self.assertEqual([0o700] * 3, [folder.stat().st_mode & 0o777 for folder in list(key.parents)[:3]])
        (self.folder / "a file").touch()
        done = self.ctl("keygen", self.folder / "a file/key")
        self.assertEqual(USAGE, done.returncode)
        self.assertIn("a file", done.stderr)

    def test_a_key_is_never_overwritten_and_readable_by_its_owner_alone(self):
        key = self.make_key("mine")
        text = key.read_text()
        self.assertEqual(0o600, key.stat().st_mode & 0o777)
        done = self.ctl("keygen", key)
        self.assertEqual(USAGE, done.returncode)
        self.assertIn("not overwritten", done.stderr)
        self.assertEqual(text, key.read_text())
        self.assertEqual(wire.key_of(key)["public"], wire.key_of(f"{key}.pub")["public"])


class Clients(KeysTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_everything()

    def refused(self, status, *arguments, says):
        done = self.ctl(*arguments)
        self.assertEqual(status, done.returncode, done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)

    def test_a_key_that_is_authorised_is_served(self):
        self.assertIn("key:sue, with the role submit", self.ctl_ok("status", *self.options("sue")))
        environment = {"DSLAD_SERVER_KEY": str(self.folder / "server.pub"), "DSLAD_KEY": str(self.folder / "rita")}
        self.assertIn("key:rita, with the role read", self.ctl_ok("status", env=environment))
        home = self.folder / "home/.config/dslad"
        home.mkdir(parents=True)
        (self.folder / "server.pub").rename(home / "server.pub")
        (self.folder / "ada").rename(home / "key")
        self.assertIn("key:ada, with the role admin", self.ctl_ok("status", env={"HOME": str(self.folder / "home")}))

    def test_whoever_is_not_known_is_told_why(self):
        stranger = self.make_key("stranger")
        self.refused(REFUSED, "status", *self.options("stranger"), says=[str(stranger), "stranger.pub", "authorise"])
        self.refused(REFUSED, "status", *self.options("wanda"), says=["wanda"])  # a worker's key
        until(lambda: wire.key_of(stranger)["public"].decode() in self.daemon.text(), "the daemon's log names the key")
        self.refused(UNREACHABLE, "status", *self.options("sue", server="stranger"), "--rpc-timeout", "1",
                     says=["stranger.pub", "--server-key"])
        self.refused(USAGE, "status", "--key", self.folder / "none", says=["none", "dslactl keygen"])
        self.refused(USAGE, "status", "--key", self.folder / "sue.pub", says=["sue.pub:1", "public key"])
        (self.folder / "sue").chmod(0o640)
        self.refused(USAGE, "status", *self.options("sue"), says=["0640", "chmod 600"])

    def test_without_a_key_nobody_is_heard(self):
        with wire.Peer(self.jobs_url) as peer, self.assertRaises(wire.Silence):
            peer.request("ping", timeout=1.0)
        self.assertNotIn("malformed", self.daemon.text())

    def test_a_key_is_authorised_and_removed_without_a_restart(self):
        self.make_key("late")
        late = self.ctl("status", *self.options("late"))
        self.assertEqual(REFUSED, late.returncode)
        self.authorise("late", "submit")
        self.await_service("late")
        peer = self.connected("late")
        [job] = peer.submit(generate())
        peer.send("wait", {"ids": [job], "timeout_ms": 60_000}, 5)
        (self.authorised / "submit/late.pub").unlink()

        def turned_away():
            try:
                peer.send("ping", {}, 6)
                reply = peer.receive()
                return reply.kind == "error" and reply
            except wire.Silence:
                return False

        reply = until(turned_away, "the open connection is not served any more")
        self.assertEqual(wire.REFUSED, reply.body["code"])
        self.assertIn("may not use this daemon", reply.body["message"])
        self.connected("ada").request("cancel", {"ids": [job]})
        self.assertEqual("error", peer.receive().kind)  # the wait that it began before tells it nothing
        self.assertEqual(REFUSED, self.ctl("status", *self.options("late")).returncode)
        self.authorise("late", "read")  # and back, in another role
        self.await_service("late")
        self.assertIn("late", self.ctl_ok("list", *self.options("late"), "--json"))

    def test_a_key_that_is_replaced_keeps_the_jobs_and_locks_out_the_old_one(self):
        old = self.connected("sue")
        [job] = old.submit(generate())
        (self.folder / "sue").rename(self.folder / "old")
        (self.folder / "sue.pub").unlink()
        self.authorise("sue", "submit")
        self.await_service("sue")
        self.assertEqual("key:sue", self.connected("sue").job(job)["owner"])
        self.assertIn("may not use", self.refusal(old, "ping").message)

    def test_a_file_that_is_wrong_locks_out_nobody_else(self):
        (self.authorised / "submit/broken.pub").write_text("# a comment\ndslad-public-key 1\npublic too-short\n")
        (self.authorised / "admin/secret.pub").write_bytes((self.folder / "sam").read_bytes())
        (self.authorised / "admin/a name.pub").write_bytes((self.folder / "rita.pub").read_bytes())
        (self.authorised / "admin/twice.pub").write_bytes((self.folder / "sue.pub").read_bytes())
        until(lambda: "twice.pub" in self.daemon.text(), "the folder is read again")
        for text in ("broken.pub:3", "secret.pub:1", "secret key", "a name.pub: ", "twice.pub: is left out"):
            self.assertIn(text, self.daemon.text())
        for name, role in (("sue", "submit"), ("sam", "submit"), ("rita", "read"), ("ada", "admin")):
            self.assertEqual(role, self.connected(name).request("status")["role"])

    def test_events_are_for_those_with_a_key(self):
        def watching(keys):
            socket = zmq.Context.instance().socket(zmq.SUB)
            self.addCleanup(socket.close, 0)
            socket.subscribe(b"job.state")
            if keys:
                server, own = (wire.key_of(file) for file in keys)
                socket.curve_serverkey = server["public"]
                socket.curve_publickey, socket.curve_secretkey = own["public"], own["secret"]
            socket.connect(self.events_url)
            return socket

        known, other, stranger = watching(self.keys("rita")), watching(self.keys("ada")), watching(None)
        sue = self.connected("sue")
        until(lambda: sue.submit(generate()) and known.poll(100) and other.poll(100), "events come")
        self.assertFalse(stranger.poll(0))

        (self.authorised / "read/rita.pub").unlink()  # the open connection ends, and a new one is refused

        def silent():
            while known.poll(0):
                known.recv_multipart()
            sue.submit(generate())
            return not known.poll(1500)

        until(silent, "no event comes any more")
        while other.poll(0):
            other.recv_multipart()
        until(lambda: sue.submit(generate()) and other.poll(100), "others are let in again")
        self.assertFalse(known.poll(0))

    def test_a_message_of_endless_parts_is_cut_off(self):
        before, sue, ada = resident_bytes(self.daemon), self.connected("sue"), self.connected("ada")

        def cut():
            return ada.request("stats")["counters"]["connections_cut"]

        for so_far, (part, parts) in enumerate([(b"", 400_000), (bytes(64 << 10), 3_000)]):
            for _ in range(parts):
                sue.socket.send(part, zmq.SNDMORE)
            sue.socket.send(b"")
            until(lambda: cut() > so_far, "it is cut off")
        if not SANITIZED:
            self.assertLess(resident_bytes(self.daemon) - before, 192 << 20)
        self.await_service("sue")


class BothDoors(KeysTest):
    """A local socket beside tcp: the users of this machine need no key, others have one."""

    def setUp(self):
        super().setUp()
        self.by_key = self.jobs_url, self.workers_url, self.events_url
        self.local = [f"ipc://{self.folder}/{name}.sock" for name in ("jobs", "workers", "events")]
        self.use(f"{local}, {tcp}" for local, tcp in zip(self.local, self.by_key))
        self.authorise_everybody()
        daemon = self.start_daemon(ready=False)
        self.use(self.by_key)
        self.await_daemon(daemon)

    def use(self, urls):
        self.jobs_url, self.workers_url, self.events_url = urls

    def test_jobs_and_workers_come_by_either_door(self):
        self.use(self.local)
        with FakeWorker(self.workers_url) as worker, wire.Peer(self.jobs_url) as local:
            self.use(self.by_key)
            worker.hello()
            job = self.connected("sue").submit(generate("from afar"))[0]
            self.assertTrue(worker.finish(worker.take_job(), text="here"))
            self.assertEqual("key:sue", local.job(job)["owner"])
            self.assertEqual("here", self.connected("sue").result(job)["outputs"][0]["text"])
            worker.send("goodbye", {})
            until(lambda: not local.request("status")["workers"], "it is known to be gone")
            mine = local.submit(generate("from here"))[0]
            remote = self.worker("wanda")
            self.assertEqual(mine, remote.take_job()["job"])
            self.assertEqual(wire.NOT_FOUND, self.refusal(self.connected("sue"), "job", {"id": mine}).code)

    def test_watchers_are_sent_to_the_door_that_they_came_by(self):
        self.assertEqual(self.by_key[2], self.connected("sue").request("status")["events_url"])
        with wire.Peer(self.local[0]) as local:
            self.assertEqual(self.local[2], local.request("status")["events_url"])
            watch = self.start("watch", BIN / "dslactl", "--connect", self.local[0], "watch", "--json")
            watch.expected_exit = {130}
            until(lambda: local.submit(generate()) and "job" in watch.text(), "an event comes to the local door")

    def test_a_local_socket_lets_in_nobody_by_key(self):
        stranger = wire.Peer(self.by_key[0])
        self.addCleanup(stranger.close)
        with self.assertRaises(wire.Silence):
            stranger.request("status", timeout=0.5)
        with wire.Peer(self.local[0]) as local:
            self.assertTrue(local.request("status")["you"].startswith("uid:"))


class PythonClient(KeysTest):
    """Both kinds of client, with plain calls here."""

    def client(self, kind, name, server="server", **options):
        client = kind(self.jobs_url, server_key=str(self.folder / f"{server}.pub"), key=str(self.folder / name), **options)
        self.addCleanup(client.close)
        return client

    def test_a_key_opens_the_door_and_a_wrong_one_is_named(self):
        self.start_everything()
        stranger = self.make_key("stranger")
        for kind in (Plain, Asynchronous):
            with self.subTest(kind=kind.__name__):
                client = self.client(kind, "sue")
                job = client.submit(dslad.Job.generate("x")).id
                self.assertEqual(("key:sue", "submit"), (client.status().you, client.status().role))
                self.assertEqual("key:sue", client.job(job).owner)
                self.assertIn(job, [info.id for info in client.jobs(owner="key:sue")])
                unknown = self.client(kind, "stranger", timeout=1.0)
                with self.assertRaisesRegex(dslad.NoAnswer, f"does not know the key {stranger}"):
                    unknown.ping()
                with self.assertRaisesRegex(dslad.NoAnswer, "does not have the key .*stranger.pub"):
                    self.client(kind, "sue", server="stranger", timeout=1.0).ping()
                with self.assertRaisesRegex(dslad.InvalidArgument, "dslactl keygen"):
                    self.client(kind, "none")
                self.authorise("stranger", "read")  # a client is of further use, and tries again
                until(lambda: self.answers(unknown), "the key is served")
                (self.authorised / "read/stranger.pub").unlink()
                until(lambda: not self.answers(unknown), "it is not served any more")

    def test_one_that_is_closed_amid_a_handshake_leaves_the_others_alone(self):
        self.start_everything()
        self.make_key("stranger")
        stranger = self.client(Plain, "stranger")
        stranger._door.close()  # as close() does it first, with time for the handshake to end behind it
        time.sleep(1)
        stranger.close()
        self.assertTrue(self.client(Plain, "sue", timeout=20.0).ping())

    def answers(self, client):
        try:
            return client.ping()
        except dslad.DsladError:
            return None

    def test_events_come_over_tcp(self):
        self.start_everything()
        for kind in (Plain, Asynchronous):
            client = self.client(kind, "sue")
            with client.events("job.state", timeout=0.2) as events:
                until(lambda: client.submit(dslad.Job.generate("x")) and self.event(events), "an event comes")

    def event(self, events):
        try:
            return next(events)
        except dslad.NoAnswer:
            return None


class Workers(KeysTest):
    def test_a_workers_key_works_and_no_other_does(self):
        self.start_everything()
        [job] = self.connected("sue").submit(generate())
        for name in ("ada", "sue"):
            with wire.Peer(self.workers_url, self.keys(name)) as peer, self.assertRaises(wire.Silence):
                peer.send("hello", {})
                peer.receive(1.0)
        worker = self.worker()
        assigned = worker.take_job()
        self.assertEqual(job, assigned["job"])
        (self.authorised / "workers/wanda.pub").unlink()
        self.authorise("willy", "workers")

        def turned_away():
            worker.heartbeat(assigned)
            return worker.receive().kind == "error"

        until(turned_away, "a worker whose key was removed is not heard")
        worker.send_result(assigned)
        self.assertEqual(wire.REFUSED, worker.expect("error").body["code"])
        self.assertEqual("running", self.connected("sue").job(job)["state"])

    def test_a_worker_comes_in_once_its_key_is_authorised(self):
        self.start_everything()
        self.make_key("new")
        worker = self.start_worker(*self.options("new"), ready=False)
        until(lambda: "does not know the key" in worker.text(), "the worker says why it waits")
        self.assertIn("new.pub", worker.text())
        self.authorise("new", "workers")
        [job] = self.connected("sue").submit(generate())
        [info] = self.connected("sue").wait(job)
        self.assertEqual("succeeded", info["state"])

    def test_a_worker_without_a_key_ends_and_says_so(self):
        worker = self.start_worker("--key", self.folder / "none", ready=False)
        worker.expected_exit = {1, 2}
        self.assertNotEqual(0, worker.wait())
        self.assertIn("dslactl keygen", worker.text())


if __name__ == "__main__":
    unittest.main()
