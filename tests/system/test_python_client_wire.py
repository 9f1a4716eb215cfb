"""The Python client (packaging/python) below its calls: many requests at a time on one connection, strangers on the
socket, and the one description that both kinds of client, the daemon and the documents must agree with."""

import asyncio
import dataclasses
import inspect
import re
import subprocess
import sys
import threading
import typing
import unittest

import wire
import zmq
from harness import PATIENCE, SOURCE
from python_client_case import ClientTest, Job, dslad, generate


class Pipelining(ClientTest):
    """Many requests at a time, which only coroutines can have."""

    def run_with(self, work, **options):
        async def main():
            async with dslad.AsyncClient(self.jobs_url, timeout=PATIENCE, **options) as client:
                return await work(client)

        return asyncio.run(main())

    def test_five_hundred_requests_are_in_flight_at_once(self):
        self.start_daemon()
        self.serving(capacity=64)

        async def work(client):
            async def one(n):
                result = await client.generate(f"text {n}", timeout=PATIENCE)
                return n, result.text

            waiting = [asyncio.create_task(one(n)) for n in range(500)]
            self.assertEqual(await client.ping(), (await client.status()).version)  # held up by none of them
            return await asyncio.gather(*waiting)

        self.assertEqual([(n, f"TEXT {n}") for n in range(500)], self.run_with(work))

    def test_more_requests_than_the_daemon_takes_wait_for_their_turn(self):
        self.start_daemon()

        async def work(client):
            return await asyncio.gather(*(client.ping() for _ in range(10_000)))

        self.assertEqual(10_000, len(self.run_with(work)))

    def test_a_request_that_is_cancelled_leaves_the_others_alone(self):
        self.start_daemon()

        async def work(client):
            job = (await client.submit(generate())).id
            waiting = asyncio.create_task(client.wait(job))
            await client.ping()
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            await client.cancel(job)
            return (await client.wait(job))[0].state

        self.assertEqual("cancelled", self.run_with(work))

    def test_closing_ends_what_is_under_way(self):
        self.start_daemon()

        async def main():
            client = dslad.AsyncClient(self.jobs_url, timeout=PATIENCE)
            job = (await client.submit(generate())).id
            waiting = asyncio.create_task(client.result(job))
            await asyncio.sleep(0)
            await client.close()
            with self.assertRaisesRegex(dslad.NoAnswer, "closed"):
                await waiting
            with self.assertRaisesRegex(RuntimeError, "closed"):
                await client.ping()

        asyncio.run(main())


class Strangers(ClientTest):
    """What answers is no daemon of this protocol."""

    def answering(self, reply):
        """Something on the jobs socket that gives this answer to each request."""
        router = zmq.Context.instance().socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(self.jobs_url)
        ending = threading.Event()

        def serve():
            while not ending.is_set():
                if router.poll(20):
                    peer, frame = router.recv_multipart()
                    router.send_multipart([peer, reply(wire.Message(frame))])
            router.close()

        self.in_a_thread(serve)
        self.addCleanup(ending.set)

    def test_an_answer_that_is_none_is_told_from_no_answer(self):
        replies = {
            "is not msgpack": lambda _: b"\xc1",
            "not a map": lambda _: b"\x01",
            "version 2": lambda asked: wire.pack("pong", {"version": "x"}, asked.id, version=2),
            "'pung'": lambda asked: wire.pack("pung", {}, asked.id),
            "_Pong.version has the wrong type": lambda asked: wire.pack("pong", {"version": 7}, asked.id),
        }
        answers = iter(replies.values())
        self.answering(lambda asked: next(answers)(asked))
        client = self.connect()
        for message in replies:
            with self.assertRaisesRegex(dslad.BadReply, message):
                client.ping()

    def test_keys_of_a_later_daemon_are_skipped_and_its_words_passed_on(self):
        body = {"id": 7, "state": "paused", "colour": "blue", "progress": {"phase": "x", "y": 1}, "error": None}
        self.answering(lambda asked: wire.pack("job_info", body, asked.id))
        info = self.connect().job(7)
        self.assertEqual(dslad.JobInfo(id=7, state="paused", progress=dslad.Progress("x")), info)


class Description(ClientTest):
    """One description for everything."""

    def test_both_kinds_of_client_have_the_same_methods_with_the_same_words(self):
        def methods(kind):
            return {name: value for name, value in vars(kind).items()
                    if name == "__init__" or not name.startswith("_")}

        plain, asynchronous = methods(dslad.Client), methods(dslad.AsyncClient)
        self.assertEqual(set(plain), set(asynchronous))
        for name, method in plain.items():
            self.assertEqual(list(inspect.signature(method).parameters.values()),
                             list(inspect.signature(asynchronous[name]).parameters.values()), name)
        for name, operation in inspect.getmembers(dslad.operations, inspect.isfunction):
            if operation.__module__ == "dslad.operations" and not name.startswith("_"):
                self.assertEqual(operation.__doc__, plain[name].__doc__)

    def test_a_jobs_options_are_its_fields(self):
        fields = {field.name: field.type for field in dataclasses.fields(Job)}
        for text in ("task", "document", "questions", "prompt"):
            del fields[text]
        options = {name: getattr(kind, "__forward_arg__", kind)
                   for name, kind in dslad.JobOptions.__annotations__.items()}
        self.assertEqual(fields, options)

    def test_the_version_is_the_projects(self):
        [version] = re.findall(r"project\(dslad VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text())
        self.assertEqual(version, dslad.__version__)

    def test_every_key_that_the_daemon_sends_is_known(self):
        self.start_daemon()
        self.serving()
        client = self.connect()
        client.ask("A cat.", "Who?", upgrade=True)
        unknown = []
        requests = {value.kind: value for name, value in vars(dslad.operations).items()
                    if isinstance(value, dslad.steps.Request)}
        bodies = {"submit": {"jobs": [generate().body()]}, "wait": {"ids": [1]}, "cancel": {"ids": [1]},
                  "requeue": {"ids": [1]}, "job": {"id": 1}, "result": {"id": 1}, "policy_explain": {"id": 1},
                  "queue_set": {"mode": "open"}, "purge": {"ended_before_ms": 10**9}}
        with self.peer() as peer:
            for kind in sorted(set(requests) - {"plan_set"}):
                peer.send(kind, bodies.get(kind, {}), 5)
                reply = peer.receive()
                self.assertEqual(requests[kind].reply, reply.kind, reply)
                unknown += self.unknown_keys(requests[kind].type, reply.body)
        self.assertEqual([], unknown)

    def unknown_keys(self, kind, body):
        hints = typing.get_type_hints(kind)
        fields = {field.metadata.get("key", field.name): hints[field.name] for field in dataclasses.fields(kind)}
        for key, value in body.items():
            if key not in fields:
                yield f"{kind.__name__}.{key}"
                continue
            for inner in (fields[key], *typing.get_args(fields[key])):
                if dataclasses.is_dataclass(inner):
                    for element in value if isinstance(value, list) else [value]:
                        yield from self.unknown_keys(inner, element)

    def test_the_documents_programs_run(self):
        self.start_daemon()
        self.serving()
        for name in ("report.txt", "a.txt"):
            (self.folder / name).write_text("A cat sat on a mat.")
        text = (SOURCE / "packaging/python/README.md").read_text() + (SOURCE / "docs/manual.md").read_text()
        programs = re.findall(r"^## (?:Plain calls|asyncio|From Python)\n(.*?)(?=^## )", text, re.M | re.S)
        self.assertEqual(3, len(programs))
        for program in programs:
            code = "".join(line[4:] + "\n" for line in program.splitlines() if line.startswith("    ") or not line)
            done = subprocess.run([sys.executable, "-c", code], cwd=self.folder, capture_output=True, encoding="utf-8",
                                  timeout=PATIENCE, env={"DSLAD_CONNECT": self.jobs_url,
                                                         "PYTHONPATH": str(SOURCE / "packaging/python")})
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn("A CAT SAT ON A MAT.", done.stdout)


if __name__ == "__main__":
    unittest.main()
