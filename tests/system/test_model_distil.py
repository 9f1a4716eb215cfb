"""dslad-model sensitivity, distil and report as a user runs them: errors, killed and resumed, used at once."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from distil_case import DistilCase, PATIENCE, STORY

SHORT = ("--sequence", 64, "--batch-tokens", 128, "--layerwise-steps", 6, "--chained-steps", 4, "--threads", 1,
         "--held-out-tokens", 100)
PAPER = ("--variant", "paper")  # a window as long as these sequences would leave nothing to learn


class Distil(DistilCase):
    def distil(self, out, *arguments, exit_status=0):
        return self.tool("distil", self.model, "--text", self.text, "--out", out, "--order", "index", *SHORT, *arguments,
                         exit_status=exit_status)

    def losses(self, out):
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("tokens_per_second", None)
        return lines

    def test_a_chain_is_served_as_soon_as_it_is_made(self):
        self.tool("sensitivity", self.model, "--text", self.text, "--order", "greedy", *PAPER, *SHORT[:6],
                  "--threads", 1)
        before = json.loads((self.model / "dsla/chain.json").read_text())
        self.assertEqual("greedy", before["order"]["method"])
        self.assertEqual(5, len(before["order"]["evidence"]))
        done = self.tool("distil", self.model, "--text", self.text, "--layers", 2, "--json", *PAPER, *SHORT)
        plans = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(before["order"]["layers"][:2], [plan["layer"] for plan in plans])
        for plan in plans:
            self.assertLess(plan["held_out_kl"][-1], plan["held_out_kl"][0])
        made = self.tool("generate", self.model, "--prompt", "Once", "--max-tokens", 8, "--plan", 2, "--json")
        self.assertEqual(8, len(json.loads(made.stdout)["ids"]))
        page = self.tool("report", self.model).stdout.strip()
        self.assertIn("<svg", pathlib.Path(page).read_text())
        evaluated = self.tool("eval", self.model, self.text, "--plans", "all", "--write-chain", "--window", 64, "--json")
        json.loads(evaluated.stdout)
        after = json.loads((self.model / "dsla/chain.json").read_text())
        self.assertEqual([0, 1, 2], [plan["plan"] for plan in after["plans"]])
        aside = self.folder / "aside"  # a chain that does not serve is measured and written as well
        (self.model / "dsla").rename(aside)
        self.tool("eval", self.model, self.text, "--plan", 1, "--write-chain", "--window", 32, "--chain", aside)
        again = json.loads((aside / "chain.json").read_text())
        self.assertNotEqual(after["plans"][1]["kl"], again["plans"][1]["kl"])
        self.assertFalse((self.model / "dsla").exists())

    def test_a_further_stage_follows_on_longer_text(self):
        longer = self.folder / "longer.txt"
        longer.write_text(STORY * 30)
        out = self.folder / "long"
        self.distil(out, "--layers", 1, "--stage", f"chained,steps=2,sequence=200,text={longer}", "--stage", "chained,steps=3,above=900")
        chain = json.loads((out / "chain.json").read_text())
        self.assertIn("stage_3", chain["layers"][0]["losses"])
        self.assertNotIn("stage_4", chain["layers"][0]["losses"])  # for nobody is so far from the teacher
        stage, nobodys = chain["recipe"]["further"]
        self.assertEqual("longer.txt", stage["data"]["files"][0]["file"])
        self.assertEqual({"loss": "chained", "steps": 3, "above_kl": 900.0},
                         {key: nobodys[key] for key in ("loss", "steps", "above_kl")})
        self.assertIn("<th>stage_3</th>", pathlib.Path(self.tool("report", out).stdout.strip()).read_text())
        steps = [line for line in self.losses(out) if line.get("stage") == "stage_3"]
        self.assertEqual(2, len(steps))
        self.assertGreater(steps[0]["tokens"], 128)
        lost = self.distil(self.folder / "other", "--stage", "chained,steps=2,text=nowhere.jsonl", exit_status=1)
        self.assertIn("nowhere.jsonl", lost.stderr)
        wrong = self.distil(self.folder / "other", "--stage", "chained,rate=2", exit_status=1)
        self.assertIn("--stage chained,rate=2: it needs steps=NUMBER", wrong.stderr)

    def test_a_chain_from_before_stages_were_a_list_goes_on(self):
        out = self.folder / "chain"
        self.distil(out, "--layers", 1)
        path = out / "chain.json"
        for steps, exit_status in ((3, 1), (0, 0)):  # that it had more stages, and that it had not
            chain = json.loads(path.read_text())
            chain["recipe"]["long_context"] = {"steps": steps, "rate": 3e-4, "lowest_rate": 3e-6, "warm_up": 0}
            path.write_text(json.dumps(chain))
            done = self.distil(out, "--layers", 2, "--resume", exit_status=exit_status)
            self.assertEqual(steps > 0, "/long_context" in done.stderr, done.stderr)
        self.assertEqual(2, len(json.loads(path.read_text())["layers"]))

    def test_going_on_with_other_options_is_refused(self):
        out = self.folder / "chain"
        self.distil(out, "--layers", 1)
        for changed, named in (("--order", "reverse"), ("--store", "f32")):
            refused = self.tool("distil", self.model, "--text", self.text, "--out", out, *SHORT, "--resume", changed, named,
                                exit_status=1)
            self.assertIn(named, refused.stderr)
        order = self.folder / "order.json"
        order.write_text("[0, 1, 2, 3, 4]")
        self.tool("distil", self.model, "--text", self.text, "--out", out, *SHORT, "--resume", "--order", order,
                  "--layers", 2)

    def test_one_layer_may_be_of_another_variant(self):
        out, narrow = self.model / "dsla", ("--variant", "dslad,window=8")
        wide = "dslad,window=8,rotary=0,feature_map=softmax_pair,delta=1"
        self.distil(out, *narrow, "--layer-variant", f"1={wide}", "--layers", 1)
        forgotten = self.distil(out, *narrow, "--layers", 2, "--resume", exit_status=1)  # layer 1 may be half trained
        self.assertIn(wide, forgotten.stderr)
        self.distil(out, *narrow, "--layer-variant", f"1={wide}", "--layers", 3, "--resume")
        layers = json.loads((out / "chain.json").read_text())["layers"]
        self.assertEqual([None, wide, None], [layer.get("variant", {}).get("name") for layer in layers])
        made = self.tool("generate", self.model, "--prompt", "Once", "--max-tokens", 20, "--plan", 3, "--json")
        self.assertEqual(20, len(json.loads(made.stdout)["ids"]))
        shown = json.loads(self.tool("inspect", self.model, "--json").stdout)["chain"]
        self.assertEqual({"1": wide}, shown["layer_variants"])
        for changed, word in (((), "variant of layer 1"), (("--layer-variant", "9=dslad,window=8"), "layer 9"),
                              (("--layer-variant", "1=dslad"), "window")):
            refused = self.distil(out, *narrow, *changed, "--resume", exit_status=1)
            self.assertIn(word, refused.stderr)

    def test_a_chain_may_begin_with_the_first_layers_of_another(self):
        first, second = self.folder / "first", self.folder / "second"
        self.distil(first, "--layers", 3)
        before = {file.name: file.read_bytes() for file in first.iterdir()}
        base = ("distil", self.model, "--text", self.text, "--out", second, "--from", first, *SHORT)
        other = ("--keep", 2, "--layer-variant", "2=dslad,rotary=0,expand_k=2,delta=1", "--checkpoint-seconds", 0)
        resume = []
        for pause in (0.05, 0.1, 0.2, 0.4):
            process = subprocess.Popen(self.command(*base, *other, "--layers", 3, *resume), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=PATIENCE)
            resume = ["--resume"]
        self.tool(*base, *other, "--layers", 3, "--resume")
        self.assertEqual(before, {file.name: file.read_bytes() for file in first.iterdir()})
        old, new = (json.loads((folder / "chain.json").read_text()) for folder in (first, second))
        self.assertEqual(old["order"], new["order"])
        self.assertEqual((old["layers"][:2], old["plans"][:2]), (new["layers"][:2], new["plans"][:2]))
        self.assertEqual(3, len(new["layers"]))
        self.assertNotEqual(old["layers"][2]["checksum"], new["layers"][2]["checksum"])
        self.assertEqual({"keep": 2, "recipe": old["recipe"]}, new["recipe"]["from"])
        of_kept = lambda out: [line for line in self.losses(out) if line["layer"] < 2]
        self.assertEqual(of_kept(first), of_kept(second))
        # From there once more: what made the kept layers is what the third one tells of.
        third = self.folder / "third"
        self.tool("distil", self.model, "--text", self.text, "--out", third, "--from", second, "--keep", 2, *SHORT,
                  "--layers", 3)
        self.assertEqual(old["recipe"], json.loads((third / "chain.json").read_text())["recipe"]["from"]["recipe"])
        # Layers of several variants may be kept, and the longer chain is one that is served.
        shutil.copytree(second, self.model / "kept")
        self.tool("distil", self.model, "--text", self.text, "--from", self.model / "kept", *SHORT, "--layers", 4)
        made = self.tool("generate", self.model, "--prompt", "Once", "--max-tokens", 8, "--plan", 4, "--json")
        self.assertEqual(8, len(json.loads(made.stdout)["ids"]))

    def test_a_layer_may_start_from_what_another_chain_has_of_it(self):
        first, second = self.folder / "first", self.folder / "second"
        self.distil(first, "--layers", 2)
        no_steps = ("--sequence", 64, "--held-out-tokens", 100, "--layerwise-steps", 0, "--chained-steps", 0)
        self.tool("distil", self.model, "--text", self.text, "--out", second, "--from", first, "--keep", 1, "--warm-start",
                  first, *no_steps, "--layers", 2)
        self.assertEqual((first / "layer-01.safetensors").read_bytes(), (second / "layer-01.safetensors").read_bytes())
        old, new = (json.loads((folder / "chain.json").read_text())["layers"][1] for folder in (first, second))
        self.assertEqual(old["losses"], new["losses"]["started_from"])
        checksums = {str(layer["layer"]): layer["checksum"] for layer in json.loads((first / "chain.json").read_text())["layers"]}
        self.assertEqual(checksums, json.loads((second / "chain.json").read_text())["recipe"]["warm_start"])
        changed = self.tool("distil", self.model, "--text", self.text, "--out", second, "--from", first, "--keep", 1, *no_steps,
                            "--layers", 3, "--resume", exit_status=1)
        self.assertIn("/warm_start", changed.stderr)
        third = self.folder / "third"  # in another order, where the other chain has only some of the layers
        self.tool("distil", self.model, "--text", self.text, "--out", third, "--order", "reverse", "--warm-start", first, *no_steps)
        made = {layer["layer"]: layer["losses"] for layer in json.loads((third / "chain.json").read_text())["layers"]}
        self.assertEqual([0, 1], sorted(layer for layer, losses in made.items() if "started_from" in losses))
        other = ("distil", self.model, "--text", self.text, "--out", self.folder / "other", "--order", "index", *SHORT)
        refused = self.tool(*other, "--warm-start", first, "--variant", "dslad,feature_map=none", exit_status=1)
        self.assertIn("layer 0: a layer of variant dslad,feature_map=none cannot start", refused.stderr)
        self.assertIn("none/chain.json", self.tool(*other, "--warm-start", self.folder / "none", exit_status=1).stderr)
        refused = self.tool("distil", self.model, "--text", self.text, "--out", first, "--warm-start", first, *SHORT,
                            exit_status=1)
        self.assertIn("name another --out", refused.stderr)

    def test_what_other_programs_say_in_a_chain_is_no_trouble(self):
        first = self.folder / "first"
        self.distil(first, "--layers", 1)
        chain = json.loads((first / "chain.json").read_text())
        with open(first / "log.jsonl", "a") as log:
            log.write('{"layer": "one"}\n[0]\n{"layer": 0, "st')
        for number, recipe in enumerate(({"from": "another"}, {"from": {"keep": "all"}}, {"from": {"keep": 9}}, {})):
            (first / "chain.json").write_text(json.dumps({**chain, "recipe": recipe}))
            out = self.folder / f"new-{number}"
            self.tool("distil", self.model, "--text", self.text, "--out", out, "--from", first, *SHORT, "--layers", 1)
            self.assertEqual(recipe, json.loads((out / "chain.json").read_text())["recipe"]["from"]["recipe"])

    def test_a_chain_that_grew_in_many_runs_tells_of_the_last_ones(self):
        first = self.folder / "first"
        self.distil(first, "--layers", 1)
        chain = json.loads((first / "chain.json").read_text())
        recipe = {"run": 0}
        for run in range(1, 20):
            recipe = {"run": run, "from": {"keep": 0, "recipe": recipe}}
        (first / "chain.json").write_text(json.dumps({**chain, "recipe": recipe}))
        out = self.folder / "new"
        self.tool("distil", self.model, "--text", self.text, "--out", out, "--from", first, *SHORT, "--layers", 1)
        told, runs = json.loads((out / "chain.json").read_text())["recipe"], []
        while "recipe" in told.get("from", {}):
            told = told["from"]["recipe"]
            runs.append(told["run"])
        self.assertEqual(list(range(19, 11, -1)), runs)
        self.assertEqual({"keep": 0}, told["from"])

    def test_what_cannot_begin_a_chain_is_named(self):
        first = self.folder / "first"
        self.distil(first, "--layers", 1)
        base = ("distil", self.model, "--text", self.text, *SHORT)
        new = ("--out", self.folder / "new")
        for wrong, words in ((("--from", first, *new, "--keep", 2), "2 layers cannot be kept, the chain has 1"),
                             (("--from", first, "--out", first), "name another --out"),
                             (("--from", first, *new, "--order", "kl"), "leave --order out"),
                             (("--from", self.folder / "none", *new), "none/chain.json"),
                             (("--from", first, *new, "--layer-variant", "0=dslad,rotary=0"), "layer 0 is kept"),
                             (("--from", first, *new, "--variant", "paper"), "leave --variant out")):
            self.assertIn(words, self.tool(*base, *wrong, exit_status=1).stderr)
        self.assertFalse((self.folder / "new/chain.json").exists())
        self.tool(*base, "--keep", 1, exit_status=2)
        damaged = bytearray((first / "layer-00.safetensors").read_bytes())
        damaged[-1] ^= 1
        (first / "layer-00.safetensors").write_bytes(damaged)
        refused = self.tool(*base, "--from", first, *new, exit_status=1)
        self.assertIn("layer-00.safetensors: the checksum is", refused.stderr)
        manifest = json.loads((first / "chain.json").read_text())
        manifest["teacher"]["digest"] = "0" * 32
        (first / "chain.json").write_text(json.dumps(manifest))
        for option in ("--from", "--warm-start"):
            refused = self.tool(*base, option, first, *new, exit_status=1)
            self.assertIn(f"other weights (digest {'0' * 32}", refused.stderr)
            self.assertIn(f"name another {option}", refused.stderr)

    def test_an_order_by_divergence_needs_steps_to_measure_it(self):
        refused = self.tool("sensitivity", self.model, "--text", self.text, "--layerwise-steps", 0, exit_status=1)
        self.assertIn("--layerwise-steps above 0", refused.stderr)

    def test_an_order_measured_with_another_variant_is_named(self):
        out = self.folder / "chain"
        self.tool("sensitivity", self.model, "--text", self.text, "--out", out, "--order", "entropy-ascending", *PAPER,
                  *SHORT[:6], "--threads", 1)
        done = self.tool("distil", self.model, "--text", self.text, "--out", out, "--layers", 1, *SHORT, "--variant", "dslad")
        self.assertIn("with variant paper,rotary=0", done.stderr)
        self.assertIn("this run trains dslad,rotary=1", done.stderr)

    def test_what_is_gone_on_with_keeps_its_variant(self):
        first, second, third, other = (self.folder / name for name in ("first", "second", "third", "other"))
        own = ("--variant", "dslad,window=8,sinks=2")
        variant = lambda out: json.loads((out / "chain.json").read_text())["variant"]
        self.tool("sensitivity", self.model, "--text", self.text, "--out", first, "--order", "index", *own, *SHORT[:2])
        self.distil(first, "--layers", 1)
        self.distil(first, "--layers", 2, "--resume")
        self.tool("distil", self.model, "--text", self.text, "--out", second, "--from", first, "--layers", 3, *SHORT)
        self.distil(third, "--warm-start", first, "--layers", 1)
        for out in (first, second, third):
            self.assertEqual((own[1], 8, 2), tuple(variant(out)[part] for part in ("name", "window", "sinks")), out)
        refused = self.distil(first, "--layers", 3, "--resume", "--variant", "dslad", exit_status=1)
        self.assertIn("window=8,sinks=2 and is dslad,", refused.stderr)
        self.distil(other, "--layers", 1)
        self.assertEqual("dslad", variant(other)["name"])

    def test_killed_at_any_moment_it_goes_on_to_the_same_losses(self):
        whole, parts = self.folder / "whole", self.folder / "parts"
        self.distil(whole, "--layers", 2)
        resume = []
        for pause in (0.05, 0.1, 0.2, 0.07, 0.3, 0.15, 0.25, 0.6, 1.0):
            process = subprocess.Popen(self.command("distil", self.model, "--text", self.text, "--out", parts, "--order",
                                                    "index", *SHORT, "--layers", 2, "--checkpoint-seconds", 0, *resume),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=PATIENCE)
            resume = ["--resume"]
        self.distil(parts, "--layers", 2, "--resume")
        self.assertEqual(self.losses(whole), self.losses(parts))
        for name in ("layer-00.safetensors", "layer-01.safetensors", "chain.json"):
            self.assertEqual((whole / name).read_bytes(), (parts / name).read_bytes(), name)

    def test_what_cannot_be_done_is_named_and_ends_with_1(self):
        empty, short = self.folder / "empty.txt", self.folder / "short.txt"
        empty.write_text("")
        short.write_text("Once upon")
        for text, words in ((empty, "no text"), (short, "1 sequence"), (self.folder / "none.txt", "none.txt")):
            done = self.tool("distil", self.model, "--text", text, exit_status=1)
            self.assertIn(words, done.stderr)
        out = self.folder / "out"
        self.distil(out, "--layers", 1)
        self.assertIn("--resume", self.distil(out, "--layers", 1, exit_status=1).stderr)
        self.assertIn("/seed", self.distil(out, "--layers", 2, "--resume", "--seed", 7, exit_status=1).stderr)
        self.assertIn("--out", self.tool("sensitivity", self.model, "--text", self.text, "--out", out,
                                         exit_status=1).stderr)
        order = self.folder / "order.json"
        order.write_text("[0, 1, 1, 2, 3]")
        done = self.tool("distil", self.model, "--text", self.text, "--out", self.folder / "new", "--order", order,
                         exit_status=1)
        self.assertIn("order.json", done.stderr)
        self.assertNotIn("entropy", done.stderr)  # refused before anything is measured
        for verb in ("distil", "sensitivity"):
            done = self.tool(verb, self.model, "--text", self.text, "--out", self.folder / "new", "--order", "best",
                             exit_status=1)
            self.assertIn("'best' is no order; use entropy-ascending", done.stderr)
            self.assertNotIn("attention entropy", done.stderr)
        joint = self.tool("distil", self.model, "--text", self.text, "--joint-layerwise", "--layerwise-steps", 0, exit_status=1)
        self.assertIn("--layerwise-steps 0", joint.stderr)
        done = self.tool("distil", self.model, "--text", self.text, "--variant", "mamba", exit_status=1)
        self.assertIn("mamba", done.stderr)

    def test_tasks_come_on_top_of_text(self):
        tasks = self.folder / "tasks.jsonl"
        tasks.write_text(json.dumps({"id": "a", "task": "qa", "document": STORY[:40],
                                     "items": [{"question": "Who?", "answers": ["Lily"]}]}) + "\n")
        out = self.folder / "out"
        self.distil(out, "--tasks", tasks, "--layers", 1)
        recipe = json.loads((out / "chain.json").read_text())["recipe"]
        self.assertEqual(["story.txt", "tasks.jsonl"], [file["file"] for file in recipe["data"]["files"]])

    def test_layers_that_learn_at_once_survive_kills(self):
        whole, parts = self.folder / "whole", self.folder / "parts"
        common = ("--joint-layerwise", "--layers", 3, *PAPER, "--sequence", 64, "--batch-tokens", 128, "--layerwise-steps", 200,
                  "--chained-steps", 4, "--threads", 1, "--held-out-tokens", 100, "--checkpoint-seconds", 0)
        self.tool("distil", self.model, "--text", self.text, "--out", whole, "--order", "index", *common)
        command = ("distil", self.model, "--text", self.text, "--out", parts, "--order", "index", *common)
        def step():
            return json.loads((parts / "joint.json").read_text())["step"] if (parts / "joint.json").exists() else 0

        resume, killed_at = [], [0]
        for pause in (0.05, 0.1, 0.2, 0.4):
            process = subprocess.Popen(self.command(*command, *resume), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + PATIENCE
            while step() <= killed_at[-1] and process.poll() is None:  # however slow it is, it has gone on
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=PATIENCE)
            killed_at.append(step())
            resume = ["--resume"]
        self.assertTrue([at for at in killed_at if 0 < at < 200], killed_at)
        begun = self.tool(*command, exit_status=1)
        self.assertIn("--resume", begun.stderr)
        without = [part for part in command if part != "--joint-layerwise"]
        self.assertIn("/joint_layerwise", self.tool(*without, "--resume", exit_status=1).stderr)
        self.tool(*command, "--resume")
        self.assertEqual(self.losses(whole), self.losses(parts))
        for name in ("layer-00.safetensors", "layer-01.safetensors", "layer-02.safetensors"):
            self.assertEqual((whole / name).read_bytes(), (parts / name).read_bytes(), name)
        self.assertEqual([], [file.name for file in parts.iterdir() if file.name.startswith("joint")])

    def test_what_the_order_was_measured_with_is_the_joint_stage(self):
        out, again = self.folder / "measured", self.folder / "given"
        common = ("--joint-layerwise", "--layers", 2, *PAPER, *SHORT)
        self.tool("distil", self.model, "--text", self.text, "--out", out, *common)
        chain = json.loads((out / "chain.json").read_text())
        self.assertEqual("kl", chain["order"]["method"])
        self.assertEqual([], [line for line in self.losses(out) if line.get("stage") == "layerwise"])
        self.assertTrue((out / "joint.json").exists())  # three layers may yet come
        self.tool("distil", self.model, "--text", self.text, "--out", again, "--order", out / "chain.json", *common)
        self.assertTrue([line for line in self.losses(again) if line.get("stage") == "layerwise"])
        other = json.loads((again / "chain.json").read_text())
        self.assertEqual(chain["layers"], other["layers"])

    def test_layers_start_from_what_the_order_was_measured_with(self):
        students, out, new = self.folder / "students", self.folder / "out", self.folder / "new"
        data = ("--text", self.text, "--held-out-tokens", 100, "--sequence", 64, "--batch-tokens", 128, "--threads", 1, *PAPER)
        measure = ("sensitivity", self.model, *data)
        self.tool(*measure, "--layerwise-steps", 6, "--out", out, "--students", students)
        kept, chain = (json.loads((folder / "chain.json").read_text()) for folder in (students, out))
        self.assertEqual(chain["order"], kept["order"])
        self.assertEqual(chain["order"]["layers"], [layer["layer"] for layer in kept["layers"]])
        self.tool("distil", self.model, *data, "--out", out, "--warm-start", students, "--layerwise-steps", 0,
                  "--chained-steps", 4, "--layers", 2)
        first = json.loads((out / "chain.json").read_text())["layers"][0]["losses"]
        alone = {entry["layer"]: entry["kl"] for entry in chain["order"]["evidence"]}[chain["order"]["layers"][0]]
        self.assertAlmostEqual(alone, first["initialised"]["kl"])
        self.assertEqual(alone, first["started_from"]["alone"]["kl"])
        for steps, folder, word in ((6, students, "another --students"), (6, new, "another --students"),
                                    (0, self.folder / "none", "leave --students out")):
            refused = self.tool(*measure, "--layerwise-steps", steps, "--order", "index", "--out", new, "--students", folder,
                                exit_status=1)
            self.assertIn(word, refused.stderr)

    def test_asked_to_stop_it_writes_a_checkpoint_and_goes_on_from_it(self):
        whole, parts = self.folder / "whole", self.folder / "parts"
        common = ("--order", "index", "--layers", 1, "--sequence", 64, "--batch-tokens", 128, "--layerwise-steps", 300,
                  "--chained-steps", 4, "--threads", 1, "--held-out-tokens", 100)
        self.tool("distil", self.model, "--text", self.text, "--out", whole, *common)
        command = self.command("distil", self.model, "--text", self.text, "--out", parts, *common)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8")
        deadline = time.monotonic() + PATIENCE
        while not ((parts / "log.jsonl").exists() and "step" in (parts / "log.jsonl").read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(1, process.returncode)
        self.assertIn("--resume", errors)
        self.tool("distil", self.model, "--text", self.text, "--out", parts, *common, "--resume")
        self.assertEqual(self.losses(whole), self.losses(parts))

    def test_a_second_one_in_the_folder_is_refused_and_the_first_goes_on(self):
        out = self.folder / "chain"
        steps = ("--sequence", 64, "--batch-tokens", 128, "--layerwise-steps", 20000, "--threads", 1, "--held-out-tokens", 100)
        first = subprocess.Popen(self.command("distil", self.model, "--text", self.text, "--out", out, "--order", "index",
                                              "--layers", 1, *steps), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(first.communicate)
        self.addCleanup(first.kill)
        deadline = time.monotonic() + PATIENCE
        while not (out / "log.jsonl").exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        for verb in (("distil", "--resume"), ("sensitivity",)):
            refused = self.tool(verb[0], self.model, "--text", self.text, "--out", out, *verb[1:], *SHORT[:6], exit_status=1)
            self.assertIn(f"{out}: another process works in it", refused.stderr)
            self.assertIn("--out", refused.stderr)
        self.assertIsNone(first.poll())
        first.kill()  # what it held is free again
        first.wait(timeout=PATIENCE)
        self.tool("sensitivity", self.model, "--text", self.text, "--out", out, "--order", "entropy-ascending", *SHORT[:6])

    def test_a_folder_that_cannot_be_made_is_named(self):
        out = self.text / "chain"  # below a file
        self.assertIn(f"{out}: cannot make the folder", self.distil(out, exit_status=1).stderr)

    def test_wrong_usage_ends_with_2(self):
        self.tool("distil", self.model, exit_status=2)
        self.tool("distil", self.model, "--text", self.text, "--batch-tokens", 0, exit_status=2)
        self.tool("report", exit_status=2)

    def test_a_full_disk_stops_it_with_an_error_and_leaves_the_chain_whole(self):
        out = self.folder / "out"
        self.distil(out, "--layers", 1)
        before = (out / "chain.json").read_bytes()
        # A limit on the size of files stands for the full disk: writing beyond it fails in the same place.
        script = "import resource, os, sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
                 "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); os.execv(sys.argv[1], sys.argv[1:])"
        done = subprocess.run(["/usr/bin/python3", "-c", script,
                               *self.command("distil", self.model, "--text", self.text, "--out", out, "--order", "index",
                                             *SHORT, "--layers", 2, "--resume")],
                              capture_output=True, encoding="utf-8", timeout=PATIENCE)
        self.assertEqual(1, done.returncode, done.stdout + done.stderr)
        self.assertIn("checkpoint", done.stderr)
        self.assertEqual(before, (out / "chain.json").read_bytes())


if __name__ == "__main__":
    unittest.main()
