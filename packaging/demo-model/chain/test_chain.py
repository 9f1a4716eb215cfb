"""python -m unittest test_chain; needs the packages of requirements.txt."""

import contextlib
import io
import json
import shutil
import tempfile
import unittest
from pathlib import Path

import torch
import xxhash
from safetensors.torch import load_file

import delta
import distil
import dsla
import segments
import write_chain
from batch import BatchBuilder
from distil import parse_options, stored_chain, variant_of
from layer_file import NAMES, load_layer, save_layer
from logbooks import Loaders, Logbooks, TrainingData
from lookups import features, key_ends
from network import Network
from optimizer import Optimizer, learning_rate
from stages import ChainedWeights, chained, layer_wise
from student import PAPER, DslaLayer, Variant

MODEL = Path(__file__).parents[1] / "model"
TINY = Path(__file__).parents[3] / "tests/golden/tiny_llama"
RICH = Variant(True, "softmax", True, True, 0, 6.0, -6.0)
VARIANTS = (PAPER, RICH, Variant(True, "softmax_pair", window=4), Variant(True, "softmax", True, states=1),
            Variant(True, "softmax_pair", True, states=1, window=5), Variant(window=3),
            Variant(False, "softmax_pair", window=3, expand_k=2), Variant(window=3, sinks=2),
            Variant(False, "softmax_pair", True, states=1, window=5, expand_k=2, delta=True, sinks=4),
            Variant(True, "softmax", states=1, delta=True))


def double_network(name="gqa3_f32"):
    return Network.load(TINY / name, torch.float64)


def make_layer(network, layer, variant, seed=1):
    """With every parameter moved, so that none is without effect."""
    made = DslaLayer(network.config, variant, network.projections(layer), seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn(p.shape, generator=random, dtype=p.dtype)
    return made


def family(seed=0):
    """A document with two questions, and a plain sequence."""
    random = torch.Generator().manual_seed(seed)
    ids = lambda n: torch.randint(3, 80, (n,), generator=random).tolist()
    builder = BatchBuilder()
    document = builder.add(ids(37), 99, 0.5)
    builder.add(ids(9), 5, 1.0, document)
    builder.add(ids(12), 1, 1.0, document)
    builder.add(ids(21), 1, 1.0)
    other = builder.add(ids(18), 1, 1.0)
    builder.add(ids(5), 1, 1.0, other)
    return builder.build()


def unfolded(batch):
    """Per segment: the rows of its whole sequence, parent included."""
    for s in batch.segments:
        own = list(range(s.first_row, s.first_row + s.rows))
        above = batch.segments[s.parent] if s.parent >= 0 else None
        yield own, (list(range(above.first_row, above.first_row + above.rows)) if above else []) + own


class Dsla(unittest.TestCase):
    def inputs(self, tokens, gate_scale=3.0, gate_shift=0.0):
        torch.manual_seed(tokens)
        rand = lambda *shape: torch.randn(*shape, dtype=torch.float64).requires_grad_()
        q, k, v = rand(2, tokens, 6, 4), rand(2, tokens, 2, 4), rand(2, tokens, 2, 5)
        z = (rand(2, 2, tokens, 2, 4) * gate_scale + gate_shift).detach().requires_grad_()
        return q, k, v, z, rand(2, 6), rand(2, 2, 2, 4, 5)

    def results(self, form, inputs):
        q, k, v, z, alpha, state = inputs
        o, last = form(q, k, v, dsla.log_gate(z), alpha.softmax(0), state)
        weight = torch.sin(torch.arange(o.numel(), dtype=o.dtype)).view_as(o)
        loss = (o * weight).sum() + last.cos().sum()
        return [o, last, *torch.autograd.grad(loss, inputs)]

    def test_chunks_equal_the_recurrence_with_all_gradients(self):
        cases = [(1, 3, 0), (31, 3, 0), (32, 3, 0), (65, 3, 0), (70, 3, 4), (65, 20, -30), (65, 300, 0), (40, 0, -800)]
        for tokens, scale, shift in cases:
            with self.subTest(tokens=tokens, scale=scale, shift=shift):
                inputs = self.inputs(tokens, scale, shift)
                for a, b in zip(self.results(dsla.recurrent, inputs), self.results(dsla.chunked, inputs)):
                    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    def test_float32_stays_close_at_steep_gates(self):
        for shift in (6, 0, -20, -40, -60, -800):
            with self.subTest(shift=shift):
                exact = [x.detach() for x in self.inputs(100, 3, shift)]
                found = self.results(dsla.chunked, [x.float().requires_grad_() for x in exact])
                for a, b in zip(self.results(dsla.recurrent, [x.requires_grad_() for x in exact]), found):
                    torch.testing.assert_close(a, b.double(), rtol=1e-3, atol=1e-3 * max(1e-3, float(a.detach().abs().max())))


class Delta(unittest.TestCase):
    def inputs(self, tokens, gate_scale=3.0, gate_shift=0.0):
        torch.manual_seed(tokens)
        rand = lambda *shape: torch.randn(*shape, dtype=torch.float64)
        log_a = dsla.log_gate(rand(2, tokens, 2) * gate_scale + gate_shift)
        q, k = (torch.nn.functional.normalize(rand(2, tokens, heads, 4), dim=-1) for heads in (6, 2))
        beta = rand(2, tokens, 2).sigmoid()
        return [x.requires_grad_() for x in (q, k, rand(2, tokens, 2, 5), log_a, beta, rand(2, 2, 4, 5))]

    def results(self, form, inputs):
        o, last = form(*inputs)
        weight = torch.sin(torch.arange(o.numel(), dtype=o.dtype)).view_as(o)
        return [o, last, *torch.autograd.grad((o * weight).sum() + last.cos().sum(), inputs)]

    def test_chunks_equal_the_recurrence_with_all_gradients(self):
        for tokens, scale, shift in [(1, 3, 0), (31, 3, 0), (32, 3, 4), (70, 3, 4), (65, 300, 0), (40, 0, -800)]:
            with self.subTest(tokens=tokens, scale=scale, shift=shift):
                inputs = self.inputs(tokens, scale, shift)
                for a, b in zip(self.results(delta.recurrent, inputs), self.results(delta.chunked, inputs)):
                    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    def test_a_fact_that_is_stated_again_replaces_the_former_one(self):
        k, q = torch.eye(4)[None, [2, 1, 2], None], torch.eye(4)[None, [0, 2, 2], None]
        v = torch.tensor([[3.0, 1.0], [5.0, 5.0], [7.0, 2.0]])[None, :, None]
        o, _ = delta.chunked(q, k, v, torch.zeros(1, 3, 1), torch.ones(1, 3, 1), torch.zeros(1, 1, 4, 2))
        torch.testing.assert_close(o[0, 1:, 0], v[0, [0, 2], 0])


class Segments(unittest.TestCase):
    def test_a_child_equals_the_end_of_the_whole_sequence(self):
        network, batch = double_network(), family()
        for variant in (None, *VARIANTS):
            converted = {1: make_layer(network, 1, variant)} if variant else {}
            folded = network.run(batch, converted).hidden[1]
            for own, whole in unfolded(batch):
                builder = BatchBuilder()
                builder.add(batch.ids[whole].tolist(), 99, 1.0)
                alone = network.run(builder.build(), converted).hidden[1]
                torch.testing.assert_close(folded[own], alone[-len(own):], rtol=1e-9, atol=1e-9)

    def test_window_equals_masked_attention(self):
        batch = family()
        torch.manual_seed(0)
        q, k, v = (torch.randn(len(batch.ids), h, 4, dtype=torch.float64) for h in (6, 2, 2))
        for width, sinks in ((1, 0), (4, 0), (16, 0), (64, 0), (1, 1), (4, 3), (16, 4), (64, 4), (5, 20)):
            found = segments.window(q, k, v, batch, width, sinks)
            for own, whole in unfolded(batch):
                scores = torch.einsum("thd,uhd->htu", q[whole], k[whole].repeat_interleave(3, 1)) / 2
                every = torch.ones(len(whole), len(whole), dtype=torch.bool).tril()
                first = len(whole) if len(whole) == len(own) else len(whole) - len(own)  # the root's
                seen = every.triu(1 - width) | every & (torch.arange(len(whole)) < min(sinks, first))
                p = scores.masked_fill(~seen, -torch.inf).softmax(-1)
                o = torch.einsum("htu,uhd->thd", p, v[whole].repeat_interleave(3, 1))
                torch.testing.assert_close(found[own], o[-len(own):], rtol=1e-9, atol=1e-9)


class Networks(unittest.TestCase):
    def test_logits_equal_the_golden_ones(self):
        for folder in TINY.glob("*/"):
            if folder.name.endswith("_rope"):  # scaled, which the twin does not know
                continue
            network = Network.load(folder, torch.float64)
            golden = json.loads((folder / "golden.json").read_text())
            builder = BatchBuilder()
            builder.add(golden["prompt_ids"], 1, 1.0)
            logits = network.logits(network.run(builder.build()).hidden[network.config.layers - 1])
            torch.testing.assert_close(logits, torch.tensor(golden["logits"]).double(), rtol=1e-4, atol=1e-4)


class Layers(unittest.TestCase):
    def test_further_channels_of_q_and_k_are_the_same_mixtures_of_the_teachers(self):
        network = double_network()
        config, found = network.config, {}
        layer = DslaLayer(config, Variant(expand_k=3), network.projections(1), 1)
        for name, heads in (("q_proj", config.heads), ("k_proj", config.kv_heads)):
            for head, rows in enumerate(getattr(layer, name).detach().unflatten(0, (heads, -1))):
                own, further = rows.mT.split((config.head_dim, 2 * config.head_dim), dim=1)
                found[name, head] = torch.linalg.lstsq(own, further).solution
                torch.testing.assert_close(own @ found[name, head], further)
        for head in range(config.heads):
            torch.testing.assert_close(found["q_proj", head], found["k_proj", head * config.kv_heads // config.heads])
        self.assertFalse(torch.allclose(found["k_proj", 0], found["k_proj", 1]))
        variance = torch.stack(list(found.values())).square().mean()
        torch.testing.assert_close(variance * config.head_dim**0.5, torch.ones_like(variance), rtol=0.2, atol=0)

    def test_the_delta_rules_file_has_a_gate_and_a_beta_a_kv_head_and_no_mixture(self):
        network = double_network()
        c = network.config
        layer = make_layer(network, 1, Variant(False, "softmax_pair", True, True, 3, states=1, expand_k=2, delta=True))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "layer-01.safetensors"
            save_layer(layer, path, torch.bfloat16)
            stored = load_file(path)
            again = load_layer(DslaLayer(c, layer.variant, network.projections(1), 2), path)
        matrix, vector = torch.bfloat16, torch.float32
        self.assertEqual({
            "q_proj.weight": ([c.heads * 2 * c.head_dim, c.hidden], matrix),
            "k_proj.weight": ([c.kv_heads * 2 * c.head_dim, c.hidden], matrix),
            "v_proj.weight": ([c.kv_heads * c.head_dim, c.hidden], matrix),
            "o_proj.weight": ([c.hidden, c.heads * c.head_dim], matrix),
            "gk_proj.weight": ([c.kv_heads, c.hidden], matrix), "gk_proj.bias": ([c.kv_heads], vector),
            "b_proj.weight": ([c.kv_heads, c.hidden], matrix), "b_proj.bias": ([c.kv_heads], vector),
            "o_norm.weight": ([c.head_dim], vector), "state_share": ([c.heads], vector),
        }, {name: (list(tensor.shape), tensor.dtype) for name, tensor in stored.items()})
        for name, parameter in again.named_parameters():
            torch.testing.assert_close(parameter.detach(), stored[NAMES[name]].double())


class Options(unittest.TestCase):
    def test_a_layers_own_variant_is_the_same_from_the_log(self):
        given = ["model", "--order", "4,1", "--out", "out", "--rotary", "--window", "64", "--layer-variant",
                 "1=rotary=0,feature_map=softmax_pair,expand_k=2", "4=delta=1"]
        options = vars(parse_options(given))
        logged = json.loads(json.dumps(options, default=str))
        for kind in (options, logged):
            self.assertEqual(Variant(True, window=64), variant_of(kind, 7))
            self.assertEqual(Variant(True, window=64, states=1, delta=True), variant_of(kind, 4))
            self.assertEqual(Variant(False, "softmax_pair", window=64, expand_k=2), variant_of(kind, 1))


class Batches(unittest.TestCase):
    def test_other_processes_make_the_same_ones(self):
        model = Path(__file__).parents[1] / "model"
        data = TrainingData("test", 4, 60, 200, 500, grow=0.5, document_weight=0.1, window=8)
        for alone, sent in zip(*(Loaders(model, n).batches(data) for n in (0, 2)), strict=True):
            self.assertEqual(alone.segments, sent.segments)
            self.assertEqual(alone.layouts.keys(), sent.layouts.keys())
            for name in ("ids", "positions", "labels", "kl_weight", "scored"):
                self.assertTrue(torch.equal(getattr(alone, name), getattr(sent, name)), name)


class Stages(unittest.TestCase):
    def loss(self, network, converted, layer, batch, stage):
        if stage == "chained":
            return chained(network, converted, layer, batch, ChainedWeights(1.0, 0.3, 0.7))[0]
        return layer_wise(network, converted, layer, batch, stage)

    def test_gradients_equal_finite_differences(self):
        network, batch = double_network(), family()
        for variant in VARIANTS:
            converted = {0: make_layer(network, 0, variant, 1), 1: make_layer(network, 1, variant, 2)}
            for stage, layer in (("attention", 1), ("hidden", 1), ("chained", 1), ("chained", 0)):
                parameters = dict(converted[layer].named_parameters())
                gradients = torch.autograd.grad(
                    self.loss(network, converted, layer, batch, stage), parameters.values(), allow_unused=True)
                for (name, p), g in zip(parameters.items(), gradients):
                    with self.subTest(variant=variant, stage=stage, layer=layer, name=name), torch.no_grad():
                        direction = torch.randn(p.shape, dtype=p.dtype)
                        ends = []
                        for sign in (1, -1):
                            p += sign * 1e-5 * direction
                            ends.append(self.loss(network, converted, layer, batch, stage))
                            p -= sign * 1e-5 * direction
                        expected = (ends[0] - ends[1]) / 2e-5
                        torch.testing.assert_close((g * direction).sum(), expected, rtol=1e-5, atol=1e-7)

    def test_training_lowers_both_losses(self):
        network, batch = double_network(), family()
        for stage in ("attention", "chained"):
            converted = {1: DslaLayer(network.config, RICH, network.projections(1), 3)}
            optimizer, losses = Optimizer(converted[1], 30, 1e-2, 1e-3, 5), []
            for step in range(30):
                loss = self.loss(network, converted, 1, batch, stage)
                loss.backward()
                optimizer.step(step)
                losses.append(loss.item())
            self.assertLess(losses[-1], 0.7 * losses[0])

    def test_the_schedule_warms_up_and_decays(self):
        rates = [learning_rate(step, 20, 1.0, 0.1, 4) for step in range(20)]
        self.assertEqual(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0])
        self.assertEqual(rates[4:], sorted(rates[4:], reverse=True))
        self.assertGreater(rates[-1], 0.1)


class Lookups(unittest.TestCase):
    def test_every_look_is_at_the_document_from_a_facts_key(self):
        books, network = Logbooks(MODEL), Network.load(MODEL)
        batch, _ = books.batch("test", 200, summary=False)
        document = books.tokenizer.decode(batch.ids[: batch.segments[0].rows].tolist())
        ends = {(row, key) for row, _, key in key_ends(books, batch)}
        self.assertTrue(ends)
        for row, key in ends:
            self.assertIn(key, document)
            self.assertGreaterEqual(row, batch.segments[0].rows)
        looks = list(features(network, stored_chain(network, MODEL / "dsla", 8), 1, 2, batch, books))
        self.assertTrue(looks)
        for key, of_q, of_k in looks:
            self.assertIn(key, {key for _, key in ends})
            for part in (of_q, of_k):  # of the map's two halves each sums to 1
                torch.testing.assert_close(part.sum(), torch.tensor(2.0))


class WriteChain(unittest.TestCase):
    def written(self, folder, keep, *options):
        """(run, chain's folder, chain.json before and after): with the shipped chain's last layers trained for a step a stage."""
        run, dsla_folder = Path(folder) / "run", Path(folder) / "dsla"
        shutil.copytree(MODEL / "dsla", dsla_folder)
        before = json.loads((dsla_folder / "chain.json").read_text())
        order = ",".join(map(str, before["order"]["layers"][keep:]))
        options = [MODEL, "--chain", dsla_folder, "--keep", keep, "--order", order, "--out", run, "--steps", 1,
                   "--chained-steps", 1, "--rows", 200, "--training-lengths", 120, 130, "--lengths", 130, "--documents", 1,
                   "--output-norm", "--alpha-per-head", "--window", 64, "--feature-map", "softmax", "--rotary",
                   "--history-bias", 6, "--recency-bias", -6, *options]
        with contextlib.redirect_stdout(io.StringIO()):
            distil.main([str(option) for option in options])
        write_chain.main([str(MODEL), str(run), "--chain", str(dsla_folder)])
        return run, dsla_folder, before, json.loads((dsla_folder / "chain.json").read_text())

    def assert_read_back(self, network, dsla_folder, run, index):
        """What was trained is what is read back, but for the rounding to bf16."""
        made = dict(stored_chain(network, dsla_folder, 8)[index].named_parameters())
        trained = load_file(run / f"layer-{index:02}.safetensors")
        self.assertEqual({NAMES[name] for name in made}, trained.keys())
        for name, parameter in made.items():
            torch.testing.assert_close(parameter, trained[NAMES[name]], rtol=2**-8, atol=0)

    def test_a_layer_by_the_delta_rule_is_written_and_read_back(self):
        with tempfile.TemporaryDirectory() as folder:
            own = "rotary=0,feature_map=softmax_pair,states=1,delta=1,expand_k=2"
            run, dsla_folder, before, chain = self.written(folder, 7, "--layer-variant", f"1={own}")
            self.assertEqual(before["layers"][:7], chain["layers"][:7])
            entry = chain["layers"][7]
            self.assertEqual(
                {"name": f"dslad,{own}", "rotary": False, "feature_map": "softmax_pair", "states": 1, "delta": True,
                 "expand_k": 2, "output_norm": True, "alpha_per_head": True, "window": 64, "sinks": 0}, entry["variant"])
            self.assertEqual({"history"}, entry["losses"]["gates"].keys())
            self.assert_read_back(Network.load(MODEL), dsla_folder, run, 1)

    def test_a_variant_says_delta_where_it_is_not_the_chains(self):
        adds = {"name": "adds", "rotary": True, "states": 1}  # as chains from before there was a delta rule
        replaces = {**adds, "name": "replaces", "delta": True}
        self.assertIsNone(write_chain.own_variant(Variant(True, states=1), adds))
        self.assertIsNone(write_chain.own_variant(Variant(True, states=1, delta=True), replaces))
        for delta_rule, chain, name in ((True, adds, "adds,delta=1"), (False, replaces, "replaces,delta=0")):
            own = write_chain.own_variant(Variant(True, states=1, delta=delta_rule), chain)
            self.assertEqual((name, delta_rule), (own["name"], own["delta"]))

    def test_layers_take_their_places_and_say_who_made_them(self):
        with tempfile.TemporaryDirectory() as folder:
            run, dsla_folder, before, chain = self.written(
                folder, 6, "--layer-variant", "1=rotary=0,feature_map=softmax_pair,expand_k=2")
            kept, order = before["layers"][:6], before["order"]["layers"]
            self.assertEqual((before["order"], before["recipe"], kept), (chain["order"], chain["recipe"], chain["layers"][:6]))
            self.assertEqual([plan for plan in before["plans"] if plan["plan"] <= 6], chain["plans"])
            self.assertEqual(order, [entry["layer"] for entry in chain["layers"]])
            self.assertNotIn("variant", chain["layers"][6])
            self.assertEqual("dslad,rotary=0,feature_map=softmax_pair,expand_k=2",
                             chain["layers"][7]["variant"]["name"])
            for entry in chain["layers"][6:]:
                self.assertEqual(write_chain.MADE_BY, entry["losses"]["made_by"])
                self.assertEqual({"layer-wise": "1 of 1", "chained": "1 of 1"}, entry["losses"]["steps"])
                self.assertEqual(xxhash.xxh3_128_hexdigest((dsla_folder / entry["file"]).read_bytes()), entry["checksum"])
            self.assert_read_back(Network.load(MODEL), dsla_folder, run, order[7])
            with self.assertRaisesRegex(SystemExit, f"layer {order[6]} is the next"):
                wrong = (run / "plans.jsonl").read_text().replace(f'"order": "{order[6]},', '"order": "5,')
                (run / "plans.jsonl").write_text(wrong)
                write_chain.main([str(MODEL), str(run), "--chain", str(dsla_folder)])


if __name__ == "__main__":
    unittest.main()
