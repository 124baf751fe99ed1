"""Mutants: each oracle has a named way to break its subject, and must go red when it is broken.

`python -m tests.mutants [NAME ...]` copies the tree aside, applies one change at a time, runs the tests that guard it and
prints a line each. A mutant that survives, or whose text is no longer in the code, is a failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "data_prep", "eval", "jobs", "launchers", "benchmarks", "tests")


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `file`, `old` (which occurs once) becomes `new`; `tests` (arguments of pytest) must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


STEP = "tests/pipeline/train/test_step.py"
TWO_RANKS = (f"{STEP}::test_two_ranks_have_the_full_batch_gradient_at_every_zero_stage",)
CACHED = (f"{STEP}::test_cached_gradients_equal_the_full_batch",)
BUILD = ("tests/pipeline/train/test_build.py",)
HALF = (f"{STEP}::test_half_precision_gradients_are_added_up_in_float32",)
FEATURES = ("tests/pipeline/train/test_features.py",)
REPLAY = ("tests/pipeline/train/test_replay.py",)
COMPONENTS = "tests/pipeline/train/test_components.py"
FAMILIES = ("tests/pipeline/model/test_families.py",)
SEQUENCE = ("tests/pipeline/test_sequence.py",)
POOLING = ("tests/pipeline/model/test_pooling.py",)
TOKENS = ("tests/pipeline/model/test_compression.py",)
ATTENTION = ("tests/pipeline/model/test_attention.py",)
VARLEN = ("tests/pipeline/model/test_varlen.py",)
VARLEN_CHECK = ("tests/pipeline/model/test_varlen_check.py",)
RESUME = "tests/data_prep/test_convert_resume.py"
EXPORT = ("tests/pipeline/test_export.py",)
BROKEN = ("tests/data_prep/test_broken_inputs.py",)
PREFLIGHT = "tests/pipeline/train/test_preflight.py"
GENERATION = ("tests/pipeline/model/test_generation.py",)
KEPT = ("tests/pipeline/train/test_kept.py",)
GUARDS = ("tests/pipeline/train/test_guards.py",)
LOCAL = ("tests/launchers/test_local.py",)
LOOP = "tests/pipeline/train/test_loop.py"
ACCIDENTS = "tests/pipeline/train/test_accidents.py"
HELD_OUT = ("tests/pipeline/train/test_held_out.py",)

MUTANTS = (
    Mutant(
        "adapters are taken out, not merged",
        "pipeline/model/adapters.py",
        "        layer.merge()\n",
        "",
        ("tests/pipeline/recipes/test_training.py", "-k", "merged"),
    ),
    Mutant(
        "held-out rows are cropped",
        "pipeline/train/feed.py",
        "return WHOLE if step < 0 or least == 1",
        "return WHOLE if least == 1",
        ("tests/pipeline/train/test_feed.py",),
    ),
    Mutant(
        "every step sees the same part",
        "pipeline/train/feed.py",
        'generator("view", *words)',
        'generator("view", *words[:2], *words[3:])',
        ("tests/pipeline/train/test_feed.py",),
    ),
    Mutant(
        "leak check off",
        "pipeline/roles.py",
        "            if leaks:",
        "            if leaks and False:",
        ("tests/pipeline/test_roles.py",),
    ),
    Mutant(
        "question sees context",
        "pipeline/spans.py",
        "layout.visible(role, compressed=compressed) &",
        "layout.visible(role, compressed=False) &",
        (*ATTENTION, "tests/pipeline/test_spans.py"),
    ),
    Mutant(
        "leak through an earlier answer allowed",
        "pipeline/roles.py",
        "return layout.order.index(role) if role < Role.QUESTION else len(layout.order)",
        "return layout.order.index(role)",
        ("tests/pipeline/test_roles.py",),
    ),
    Mutant(
        "second hidden pair forgotten",
        "pipeline/roles.py",
        "cut = {key for hide in self.hidden if",
        "cut = {key for hide in self.hidden[:1] if",
        ATTENTION,
    ),
    Mutant(
        "coin not read",
        "pipeline/batch.py",
        "(row.sequence.roles, row.compressed) for row in rows",
        "(row.sequence.roles, True) for row in rows",
        ATTENTION,
    ),
    Mutant(
        "keys without a gradient",
        "pipeline/model/attention.py",
        "for part in (q, k, v))",
        "for part in (q, k.detach(), v))",
        ATTENTION,
    ),
    Mutant(
        "mask off by one",
        "pipeline/spans.py",
        "last = int(np.flatnonzero(mine)[-1]) + 1",
        "last = int(np.flatnonzero(mine)[-1]) + 2",
        ("tests/pipeline/test_spans.py", *ATTENTION),
    ),
    Mutant("attention not causal", "pipeline/model/attention.py", "is_causal=True", "is_causal=False", ATTENTION),
    Mutant(
        "padding taken",
        "pipeline/model/attention.py",
        "inside = steps < lengths[members, None]",
        "inside = steps <= lengths[members, None]",
        ATTENTION,
    ),
    Mutant(
        "kernel not causal",
        "pipeline/model/varlen.py",
        "window = (-1, 0) if causal else (-1, -1)",
        "window = (-1, -1)",
        VARLEN,
    ),
    Mutant(
        "kernel's outputs not put back",
        "pipeline/model/varlen.py",
        ".index_select(0, spans.take)",
        "[: len(spans.take)]",
        VARLEN,
    ),
    Mutant(
        "kernel taken under dropout",
        "pipeline/model/attention.py",
        "if dropout == 0.0 and is_trusted(",
        "if is_trusted(",
        VARLEN,
    ),
    Mutant(
        "starts computed by every layer",
        "pipeline/model/attention.py",
        "    @cached_property\n    def sequences",
        "    @property\n    def sequences",
        VARLEN,
    ),
    Mutant(
        "kernel taken unchecked",
        "pipeline/model/varlen_check.py",
        "if not error <= allowed:",
        "if False:",
        VARLEN_CHECK,
    ),
    Mutant(
        "kernel that gives NaN taken",
        "pipeline/model/varlen_check.py",
        "if not error <= allowed:",
        "if error > allowed:",
        VARLEN_CHECK,
    ),
    Mutant(
        "gradients of the kernel unchecked",
        "pipeline/model/varlen_check.py",
        "[out.detach(), *torch.autograd.grad(out, leaves, grad_output)]",
        "[out.detach()]",
        VARLEN_CHECK,
    ),
    Mutant(
        "check counted by a checkpointed layer",
        "pipeline/model/varlen_check.py",
        "torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is)",
        "torch.enable_grad()",
        VARLEN_CHECK,
    ),
    Mutant(
        "tower's lengths not handed over",
        "pipeline/model/attention.py",
        'VISION_ATTENTION = "picture_flash"',
        'VISION_ATTENTION = "picture_spans"',
        ATTENTION,
    ),
    Mutant(
        "routes of the benchmark not compared",
        "benchmarks/attention.py",
        "if not error <= steps * torch.finfo(true.dtype).eps:",
        "if False:",
        ("tests/benchmarks/test_attention.py",),
    ),
    Mutant(
        "pictures attend to each other",
        "pipeline/model/attention.py",
        "_equal_runs(lengths.tolist())",
        "[(0, 1, int(lengths.sum()))]",
        ATTENTION,
    ),
    Mutant(
        "families mixed up",
        "pipeline/model/backbone.py",
        '"qwen2_5_vl": Qwen2_5_VLForConditionalGeneration',
        '"qwen2_5_vl": Qwen2VLForConditionalGeneration',
        FAMILIES,
    ),
    Mutant(
        "windows at the edge taken for whole ones",
        "pipeline/model/attention.py",
        "lengths[index + count] == lengths[index]",
        "lengths[index + count] >= lengths[index]",
        FAMILIES,
    ),
    Mutant(
        "positions of packed rows run on",
        "pipeline/batch.py",
        "row.sequence.positions()[:, shared:] for row in rows",
        "row.sequence.positions()[:, shared:] + number for number, row in enumerate(rows)",
        ("tests/pipeline/test_batch.py", *ATTENTION),
    ),
    Mutant(
        "common head not shared right",
        "pipeline/batch.py",
        "shared = offset = shared_system(rows)",
        "shared = offset = max(0, shared_system(rows) - 1)",
        ("tests/pipeline/test_batch.py", *ATTENTION),
    ),
    Mutant(
        "text continues after the picture's height only",
        "pipeline/sequence.py",
        "current + max(height, width)",
        "current + height",
        SEQUENCE,
    ),
    Mutant(
        "special tokens in text",
        "pipeline/model/backbone.py",
        "split_special_tokens=True",
        "split_special_tokens=False",
        SEQUENCE,
    ),
    Mutant(
        "context cut silently",
        "pipeline/sequence.py",
        "                if role is Role.ANSWER and total < self.max_length:",
        "                if total < self.max_length:",
        SEQUENCE,
    ),
    Mutant(
        "no end token in a plain prompt",
        "pipeline/sequence.py",
        'end = [self.vocabulary.im_end] if self.layout.template == "plain" else []',
        "end: list[int] = []",
        SEQUENCE,
    ),
    Mutant(
        "first picture everywhere",
        "pipeline/sequence.py",
        "self._visual_ids(grid_thw[number - 1])",
        "self._visual_ids(grid_thw[0])",
        SEQUENCE,
    ),
    Mutant("questions are context", "pipeline/sequence.py", "yield Role.QUESTION,", "yield Role.CONTEXT,", SEQUENCE),
    Mutant(
        "native rows lost beside plain ones",
        "pipeline/spans.py",
        "there = [role for role in Role if present[role]]",
        "there = [role for role in layout.order if present[role]]",
        ATTENTION,
    ),
    Mutant(
        "end token not scored",
        "pipeline/batch.py",
        "tokens = np.flatnonzero(row.sequence.roles == Role.ANSWER)",
        "tokens = np.flatnonzero(row.sequence.roles == Role.ANSWER)[:-1]",
        ("tests/pipeline/model/test_embedder.py",),
    ),
    Mutant(
        "targets shifted",
        "pipeline/batch.py",
        "parts.append(np.stack([place[tokens - 1]",
        "parts.append(np.stack([place[tokens]",
        ("tests/pipeline/model/test_embedder.py",),
    ),
    Mutant(
        "pooling over one token too few",
        "pipeline/batch.py",
        "found[-1:] if self.last else found",
        "found[-1:] if self.last else found[:-1]",
        ("tests/pipeline/model/test_embedder.py", *CACHED, "tests/pipeline/model/test_pooling.py"),
    ),
    Mutant(
        "mean before the MLP",
        "pipeline/model/pooling.py",
        "self.inner(states.float())",
        "self.inner(states.float().mean(dim=1, keepdim=True))",
        POOLING,
    ),
    Mutant(
        "attention over the rows",
        "pipeline/model/pooling.py",
        "math.sqrt(keys.shape[-1])).softmax(dim=1)",
        "math.sqrt(keys.shape[-1])).softmax(dim=0)",
        POOLING,
    ),
    Mutant(
        "attention scores not scaled",
        "pipeline/model/pooling.py",
        "keys @ self.query.float() / math.sqrt(keys.shape[-1])",
        "keys @ self.query.float()",
        POOLING,
    ),
    Mutant(
        "pooling in the type of the states",
        "pipeline/model/pooling.py",
        "linear(states, self.weight.float(), self.bias.float())",
        "linear(states.to(self.weight.dtype), self.weight, self.bias)",
        POOLING,
    ),
    Mutant(
        "weights of a pooling not trained",
        "pipeline/model/pooling.py",
        "self.query = nn.Parameter(torch.zeros(width))",
        "self.query = nn.Buffer(torch.zeros(width))",
        (f"{COMPONENTS}::test_a_variant_trains_resumes_and_is_served",),
    ),
    Mutant(
        "temperature ignored",
        "pipeline/losses/contrastive.py",
        "queries @ candidates.T / self.temperature",
        "queries @ candidates.T",
        ("tests/pipeline/losses",),
    ),
    Mutant(
        "ties win",
        "pipeline/losses/contrastive.py",
        "hits = tied.diagonal().float() / tied.sum(dim=1)",
        "hits = tied.diagonal().float()",
        ("tests/pipeline/losses",),
    ),
    Mutant(
        "sample mean is a token mean",
        "pipeline/losses/language.py",
        'weights = 1.0 / row_tokens if self.mean == "sample_mean"',
        'weights = torch.ones_like(token_losses) if self.mean == "sample_mean"',
        ("tests/pipeline/losses",),
    ),
    Mutant(
        "own and outside answers never meet",
        "pipeline/losses/language.py",
        'units if self.groups == "apart" else units.sum()',
        "units if self.groups else units.sum()",
        ("tests/pipeline/losses", f"{STEP}::test_one_mean_over_own_and_outside_answers"),
    ),
    Mutant(
        "hard negatives not in the denominator",
        "pipeline/losses/contrastive.py",
        "        targets = torch.arange(len(queries), device=scores.device)\n",
        "        targets = torch.arange(len(queries), device=scores.device)\n        scores = scores[:, : len(queries)]\n",
        ("tests/pipeline/losses", f"{STEP}::test_hard_negatives_are_candidates_of_every_query"),
    ),
    Mutant(
        "hard negatives of the wrong pair",
        "pipeline/train/plan.py",
        "for row, places in zip(draw.pairs, negatives, strict=True)",
        "for row, places in zip(draw.pairs[::-1], negatives, strict=True)",
        ("tests/pipeline/train/test_plan.py", "tests/pipeline/train/test_feed.py"),
    ),
    Mutant(
        "duplicates among hard negatives not masked",
        "pipeline/losses/contrastive.py",
        "            same[targets, targets] = False\n",
        "            same[targets, targets] = False\n            same[:, len(queries) :] = False\n",
        ("tests/pipeline/losses",),
    ),
    Mutant(
        "weight of the step before",
        "pipeline/losses/weights.py",
        "if first <= step)",
        "if first <= max(0, step - 1))",
        ("tests/pipeline/losses/test_weights.py", f"{STEP}::test_weights_follow_their_steps"),
    ),
    Mutant(
        "language loss paid for at weight 0",
        "pipeline/train/plan.py",
        "own = mixture.own_sides if language_weight else ()",
        "own = mixture.own_sides",
        ("tests/pipeline/train/test_plan.py",),
    ),
    Mutant(
        "contrastive weight of 0 ignored",
        "pipeline/train/plan.py",
        "num_pairs=len(draw.pairs) if contrastive_weight else 0,",
        "num_pairs=len(draw.pairs),",
        ("tests/pipeline/train/test_plan.py",),
    ),
    Mutant("world-size scale dropped", "pipeline/train/engine.py", "loss * self.num_ranks", "loss", TWO_RANKS),
    Mutant(
        "no accumulation boundary",
        "pipeline/train/engine.py",
        "set_gradient_accumulation_boundary(last)",
        "set_gradient_accumulation_boundary(True)",
        TWO_RANKS,
    ),
    Mutant(
        "unit count local instead of global",
        "pipeline/train/step.py",
        "units = engine.sum(work.units.to(engine.device))",
        "units = work.units.to(engine.device)",
        TWO_RANKS,
    ),
    Mutant(
        "chunks added up in bfloat16",
        "pipeline/train/engine.py",
        '"grad_accum_dtype": "fp32"',
        '"grad_accum_dtype": "bf16"',
        HALF,
    ),
    Mutant(
        "chunks added up again and again at stage 1",
        "pipeline/train/engine.py",
        '"immediate_grad_update": True',
        '"immediate_grad_update": False',
        HALF,
    ),
    Mutant(
        "rotary frequencies of the tower in bfloat16",
        "pipeline/model/tower.py",
        "tower.to(device).eval()",
        "tower.to(device, dtype).eval()",
        FEATURES,
    ),
    Mutant(
        "DeepSpeed's own ZeRO 0 in bfloat16",
        "pipeline/train/engine.py",
        """return phase.zero_stage or int(phase.dtype == "bfloat16")""",
        "return phase.zero_stage",
        HALF,
    ),
    Mutant(
        "a question without an answer passes",
        "pipeline/train/step.py",
        "work.asks and not units.any()",
        "work.asks and False",
        (f"{STEP}::test_a_weighted_loss_without_a_value_is_an_error",),
    ),
    Mutant(
        "two moves a global batch",
        "pipeline/train/step.py",
        "    norm = engine.step(learning_rate)",
        "    engine.step(learning_rate)\n    norm = engine.step(learning_rate)",
        (f"{STEP}::test_two_ranks_train_as_one",),
    ),
    Mutant(
        "tower runs in both passes",
        "pipeline/train/features.py",
        "if chunk not in self.made:",
        "if True:",
        FEATURES,
    ),
    Mutant(
        "features of other rows",
        "pipeline/train/features.py",
        "features[chunk.prefix_features.to(features.device)]",
        "features[: len(chunk.prefix_features)]",
        FEATURES,
    ),
    Mutant("features never freed", "pipeline/train/features.py", "self.made.pop(chunk, None)", "pass", FEATURES),
    Mutant(
        "frozen tower stays inside",
        "pipeline/train/engine.py",
        "Inside() if tower_trains else _take_tower_out(module, phase)",
        "Inside()",
        FEATURES,
    ),
    Mutant(
        "masks of the place in the chunk",
        "pipeline/model/embedder.py",
        "self.noise.of(batch.token_noise)",
        "self.noise.of(torch.arange(len(batch.token_noise)))",
        REPLAY,
    ),
    Mutant(
        "masks of the module alone",
        "pipeline/model/dropout.py",
        "mixed(tokens[:, None] ^ self.words)",
        "mixed(0 * tokens[:, None] ^ self.words)",
        ("tests/pipeline/model/test_dropout.py",),
    ),
    Mutant(
        "layer run again with other masks",
        "pipeline/model/dropout.py",
        "return nullcontext(), self.of(self.numbers)",
        "return nullcontext(), self.of(None if self.numbers is None else self.numbers + 1)",
        REPLAY,
    ),
    Mutant(
        "one mask for all steps",
        "pipeline/train/feed.py",
        'seed_of("noise", *words)',
        'seed_of("noise", self.recipe.seed, *words[2:])',
        REPLAY,
    ),
    Mutant("dropout off in training", "pipeline/train/engine.py", "self.deepspeed.train()", "self.deepspeed.eval()", REPLAY),
    Mutant(
        "layers keep everything",
        "pipeline/train/engine.py",
        "if phase.gradient_checkpointing:",
        "if phase.gradient_checkpointing and False:",
        REPLAY,
    ),
    Mutant(
        "embeddings of other ranks missing",
        "pipeline/train/step.py",
        "return kept, engine.sum(embeddings)",
        "return kept, embeddings",
        TWO_RANKS,
    ),
    Mutant(
        "generation loss never back-propagated",
        "pipeline/train/step.py",
        "work.language_weight * sums.sum()",
        "work.language_weight * sums.sum().detach()",
        CACHED,
    ),
    Mutant(
        "contrastive gradient dropped",
        "pipeline/train/step.py",
        "(outputs.embeddings * cached).sum()",
        "0.0 * outputs.embeddings.sum()",
        CACHED,
    ),
    Mutant(
        "chunk gradients not added",
        "pipeline/train/step.py",
        "for place, index in enumerate(order):",
        "for place, index in enumerate(order[-1:]):",
        CACHED,
    ),
    Mutant(
        "coin redrawn in the replay",
        "pipeline/train/work.py",
        "Chunk(pack(part, recipe.layout, pooled),",
        "Chunk(pack([__import__('dataclasses').replace(r, compressed=not r.compressed) for r in part], recipe.layout, pooled),",
        CACHED,
    ),
    Mutant(
        "compression rows not trained",
        "pipeline/model/compression.py",
        'bank.requires_grad_(self.trained != "none")',
        "bank.requires_grad_(False)",
        BUILD,
    ),
    Mutant(
        "head trained under adapters",
        "pipeline/model/adapters.py",
        "head.requires_grad_(False)",
        "head.requires_grad_(True)",
        TOKENS,
    ),
    Mutant(
        "frozen tower trained",
        "pipeline/train/build.py",
        'backbone.tower.requires_grad_(recipe.tower == "trained")',
        "backbone.tower.requires_grad_(True)",
        BUILD,
    ),
    Mutant(
        "adapters dropped instead of merged",
        "pipeline/model/adapters.py",
        "layer.merge()",
        "layer.get_base_layer()",
        ("tests/pipeline/model/test_adapters.py",),
    ),
    Mutant(
        "rows trained that must stay",
        "pipeline/model/compression.py",
        'bank.requires_grad_(self.trained != "none")',
        "bank.requires_grad_(True)",
        TOKENS,
    ),
    Mutant("whole table left frozen", "pipeline/model/compression.py", "table.requires_grad_(True)", "pass", TOKENS),
    Mutant(
        "table asked for a row it has not",
        "pipeline/model/embedder.py",
        "self.bank.table_ids(batch.input_ids)",
        "batch.input_ids",
        TOKENS,
    ),
    Mutant("compression tokens chosen", "pipeline/inference.py", "banned=vocabulary.chorus", "banned=()", TOKENS),
    Mutant(
        "adapters start unseeded",
        "pipeline/train/build.py",
        "torch.manual_seed(recipe.seed)",
        "torch.seed()",
        (f"{COMPONENTS}::test_a_variant_trains_resumes_and_is_served",),
    ),
    Mutant(
        "optimizer state not restored",
        "pipeline/train/engine.py",
        'state["step"].fill_(steps)',
        'state["step"].fill_(1)',
        ("tests/pipeline/train/test_loop.py::test_a_resumed_run_equals_the_unbroken_one_bit_for_bit",),
    ),
    Mutant(
        "digests not checked",
        "pipeline/train/checkpoint.py",
        "or file_digest(folder / name) != state.digests.get(name)",
        "",
        ("tests/pipeline/train/test_loop.py::test_a_truncated_checkpoint_is_refused_by_name_and_the_one_before_is_taken",),
    ),
    Mutant(
        "rows repeat inside a batch",
        "pipeline/data/sampler.py",
        "return (epoch, offset) if offset + need <= size else (epoch + 1, 0)",
        "return (epoch, offset % size) if True else (epoch + 1, 0)",
        ("tests/pipeline/data/test_sampler.py",),
    ),
    Mutant(
        "order depends on what was read before",
        "pipeline/data/sampler.py",
        'generator(self.seed, "epoch", self.names[index], epoch)',
        'generator(self.seed, "epoch", self.names[index], len(self._cursors))',
        ("tests/pipeline/data/test_sampler.py",),
    ),
    Mutant(
        "long positives trained on",
        "pipeline/train/lengths.py",
        "np.maximum(self.needed[query], self.needed[positive]) <= max_length",
        "self.needed[query] <= max_length",
        ("tests/pipeline/train/test_measure.py", "tests/pipeline/train/test_corpus.py"),
    ),
    Mutant(
        "a question without room for its answer",
        "pipeline/train/measure.py",
        "question_ids(side.turns[0].question)) + 1",
        "question_ids(side.turns[0].question))",
        ("tests/pipeline/train/test_measure.py",),
    ),
    Mutant(
        "rows left out are held out",
        "pipeline/train/corpus.py",
        "return {name: rows[fits[rows]] for",
        "return {name: rows[fits[rows] | True] for",
        ("tests/pipeline/train/test_corpus.py",),
    ),
    Mutant(
        "table of another layout",
        "pipeline/train/measure.py",
        "tokenizer, probe, ruler.builder.layout, ruler.pixels]",
        "tokenizer, probe, ruler.pixels]",
        ("tests/pipeline/train/test_measure.py",),
    ),
    Mutant(
        "misspelt datasets ignored",
        "pipeline/train/corpus.py",
        "    if unknown:",
        "    if unknown and False:",
        ("tests/pipeline/train/test_corpus.py",),
    ),
    Mutant(
        "weights of datasets ignored",
        "pipeline/train/corpus.py",
        "weights.get(name, 1.0) * min(",
        "1.0 * min(",
        ("tests/pipeline/train/test_corpus.py", "tests/pipeline/train/test_feed.py"),
    ),
    Mutant(
        "sub-batches mix datasets",
        "pipeline/data/sampler.py",
        'return [row for position in generator(self.seed, "runs", step).permutation(len(runs)) for row in runs[position]]',
        'return generator(self.seed, "runs", step).permutation([row for run in runs for row in run]).tolist()',
        ("tests/pipeline/data/test_sampler.py",),
    ),
    Mutant(
        "shares not followed",
        "pipeline/data/sampler.py",
        "p=open_share / open_share.sum()",
        "p=(open_share > 0) / (open_share > 0).sum()",
        ("tests/pipeline/data/test_sampler.py",),
    ),
    Mutant(
        "ranks read the whole batch",
        "pipeline/train/feed.py",
        "for place in hand]",
        "for place in range(len(items))]",
        ("tests/pipeline/train/test_feed.py",),
    ),
    Mutant(
        "positions shifted after the cut",
        "pipeline/model/generation.py",
        "position=batch.position_ids[:, last].max(dim=0).values + 1",
        "position=torch.tensor([len(places) for places in kept])",
        GENERATION,
    ),
    Mutant(
        "SYSTEM dropped from the memory",
        "pipeline/inference.py",
        "CACHED_ROLES = (Role.SYSTEM, Role.COMPRESSION)",
        "CACHED_ROLES = (Role.COMPRESSION,)",
        GENERATION,
    ),
    Mutant(
        "context kept in the memory",
        "pipeline/inference.py",
        "CACHED_ROLES = (Role.SYSTEM, Role.COMPRESSION)",
        "CACHED_ROLES = (Role.SYSTEM, Role.CONTEXT, Role.COMPRESSION)",
        GENERATION,
    ),
    Mutant(
        "question padding seen",
        "pipeline/model/generation.py",
        "steps < lengths[:, None]]",
        "steps.expand(len(lengths), -1) >= 0]",
        GENERATION,
    ),
    Mutant(
        "cache of ended rows leaves in another order",
        "pipeline/model/generation.py",
        "cache.batch_select_indices(kept)",
        "cache.batch_select_indices(kept.flip(0))",
        GENERATION,
    ),
    Mutant(
        "new tokens written over the first ones",
        "pipeline/model/generation.py",
        "buffer[:, :, start:end] = states",
        "buffer[:, :, : end - start] = states",
        GENERATION,
    ),
    Mutant(
        "draws depend on the place in the batch",
        "pipeline/model/generation.py",
        "[names[row] for row in rows.tolist()]",
        "list(range(len(rows)))",
        GENERATION,
    ),
    Mutant(
        "nucleus one token short",
        "pipeline/model/generation.py",
        "torch.where(reached - likely < self.top_p",
        "torch.where(reached < self.top_p",
        GENERATION,
    ),
    Mutant(
        "compressed items in order of length",
        "pipeline/inference.py",
        ".take(np.argsort(order).tolist())",
        "",
        ("tests/pipeline/test_inference.py",),
    ),
    Mutant(
        "tokenizer not in the fingerprint",
        "pipeline/model/backbone.py",
        "PICTURE_SETTINGS, *TOKENIZER_FILES)",
        "PICTURE_SETTINGS)",
        ("tests/pipeline/test_inference.py",),
    ),
    Mutant(
        "items of another model accepted",
        "pipeline/model/compressed_items.py",
        "if self.fingerprint != fingerprint:",
        "if not self.fingerprint:",
        ("tests/pipeline/model/test_compressed_items.py",),
    ),
    Mutant(
        "changed items accepted",
        "pipeline/model/compressed_items.py",
        " or noted.get(_DIGEST) != _digest(tensors)",
        "",
        ("tests/pipeline/model/test_compressed_items.py",),
    ),
    Mutant("adapters not merged", "pipeline/model/adapters.py", "layer.merge()", "pass", EXPORT),
    Mutant("compression rows not exported", "pipeline/export.py", "table[chorus] = _rows(model)", "table[chorus] += 0", EXPORT),
    Mutant(
        "exported compression ids may be generated",
        "pipeline/export.py",
        "sorted({*(generation.suppress_tokens or ()), *chorus})",
        "sorted({*(generation.suppress_tokens or ())})",
        EXPORT,
    ),
    Mutant("exported picture limits are the folder's", "pipeline/export.py", "**found, **used}", "**used, **found}", EXPORT),
    Mutant(
        "exported prompt ends before the last token",
        "pipeline/export.py",
        '"after_ids": ids[start + len(word) :]',
        '"after_ids": ids[start + len(word) : -1]',
        EXPORT,
    ),
    Mutant("an export takes a folder's place", "pipeline/export.py", "if out.exists():", "if out.is_file():", EXPORT),
    Mutant(
        "pixels rescaled in float32",
        "pipeline/model/inputs.py",
        "(pictures.double() * (1 / 255)).float()",
        "pictures.float() / 255.5",
        ("tests/pipeline/model/test_inputs.py",),
    ),
    Mutant(
        "a collapsed model wins ties",
        "eval/metrics.py",
        "TIE_TOLERANCE = 1e-6",
        "TIE_TOLERANCE = 0.0",
        ("tests/eval/test_metrics.py",),
    ),
    Mutant(
        "report text not escaped",
        "eval/report_markup.py",
        "return html.escape(str(text), quote=True)",
        "return str(text)",
        ("tests/eval/test_report.py",),
    ),
    Mutant(
        "a recipe's name makes work stale",
        "pipeline/recipe_json.py",
        'LABELS = ("name", "summary")',
        'LABELS = ("summary",)',
        ("tests/pipeline/test_recipe_json.py",),
    ),
    Mutant(
        "settings checked one by one",
        "pipeline/overrides.py",
        "        _change(tree, path.strip(), text.strip())",
        "        _change(tree, path.strip(), text.strip())\n        build(Recipe, tree)",
        ("tests/pipeline/test_overrides.py",),
    ),
    Mutant(
        "a truth value passes for a number",
        "pipeline/typed.py",
        "isinstance(value, int | float) and not isinstance(value, bool) and",
        "isinstance(value, int | float) and",
        ("tests/pipeline/test_typed.py",),
    ),
    Mutant(
        "values of a user's file keep their own types",
        "pipeline/recipes/source.py",
        "return recipe_from_json(canonical_json(made))",
        "return made",
        ("tests/pipeline/recipes/test_source.py",),
    ),
    Mutant(
        "a checkpoint takes any recipe",
        "pipeline/inference.py",
        "_refuse_other_values(path, own, recipe or own)",
        "_refuse_other_values(path, own, own)",
        ("tests/pipeline/test_inference_recipes.py",),
    ),
    Mutant(
        "training processes get the recipe's name only",
        "launchers/local.py",
        "str(write_recipe(context))",
        "context.recipe.name",
        ("tests/launchers/test_cli.py::test_processes_of_a_training_get_the_resolved_recipe",),
    ),
    Mutant(
        "merely added losses still compress",
        "pipeline/recipes/ablations.py",
        "with_probability(crem_2b(), 0.0),",
        "with_probability(crem_2b(), 0.5),",
        ("tests/pipeline/recipes/test_printed.py",),
    ),
    Mutant(
        "rows with other figures share a recipe",
        "pipeline/recipes/printed.py",
        '"crem_2b_heterogeneous", (53.0, 44.0, 66.2)',
        '"crem_2b", (53.0, 44.0, 66.2)',
        ("tests/pipeline/recipes/test_printed.py",),
    ),
    Mutant(
        "bounds off by one",
        "pipeline/ranges.py",
        "if not value >= bound:",
        "if not value >= bound - 1:",
        ("tests/pipeline/test_overrides.py",),
    ),
    Mutant(
        "a role that no sequence has hides",
        "pipeline/roles.py",
        "            if absent:",
        "            if absent and False:",
        ("tests/pipeline/test_overrides.py",),
    ),
    Mutant(
        "tokens before the context they read",
        "pipeline/recipe.py",
        "or list(order) != sorted(set(order)):",
        "or len(order) != len(set(order)):",
        ("tests/pipeline/test_overrides.py",),
    ),
    Mutant(
        "homogeneous questions asked where none belong",
        "pipeline/train/plan.py",
        "own = mixture.own_sides if language_weight else ()",
        "own = SIDES if language_weight else ()",
        ("tests/pipeline/recipes/test_training.py::test_what_a_recipe_is_about_can_be_seen",),
    ),
    Mutant(
        "the worst checkpoint is kept",
        "pipeline/train/kept.py",
        "sign = -1.0 if name in HIGHER_IS_BETTER else 1.0",
        "sign = 1.0 if name in HIGHER_IS_BETTER else -1.0",
        KEPT,
    ),
    Mutant(
        "refused folders take places",
        "pipeline/train/kept.py",
        "for folder in checkpoint.steps(root) if checkpoint.step_of(folder) <= step}",
        "for folder in checkpoint.steps(root)}",
        KEPT,
    ),
    Mutant(
        "a full disk ends in a traceback",
        "pipeline/train/checkpoint.py",
        "except (OSError, SafetensorError) as error:",
        "except ZeroDivisionError as error:",
        KEPT,
    ),
    Mutant(
        "an infinite loss is taken",
        "pipeline/train/engine.py",
        "* torch.where(loss.isfinite(), 1.0, math.nan)",
        "* 1.0",
        GUARDS,
    ),
    Mutant(
        "a gradient that is not finite is taken",
        "pipeline/train/engine.py",
        "if own_norm is not None and not own_norm.isfinite():",
        "if own_norm is not None and own_norm < 0:",
        GUARDS,
    ),
    Mutant(
        "skipped steps end the run in any order",
        "pipeline/train/skips.py",
        "            self.in_a_row = 0\n",
        "            pass\n",
        GUARDS,
    ),
    Mutant(
        "skipped steps count for the optimizer",
        "pipeline/train/loop.py",
        "taken = state.step - state.skipped",
        "taken = state.step",
        (f"{LOOP}::test_a_skipped_step_is_remembered_by_a_resumed_run",),
    ),
    Mutant(
        "a signal stops one rank alone",
        "pipeline/train/loop.py",
        "if total.asked_to_stop and",
        "if self.note.asked and",
        (f"{ACCIDENTS}::test_a_signal_to_one_rank_stops_both_after_a_checkpoint",),
    ),
    Mutant(
        "a loader's process dies of the job's signal",
        "pipeline/train/stop.py",
        "signal.signal(number, signal.SIG_IGN)",
        "signal.signal(number, signal.SIG_DFL)",
        GUARDS,
    ),
    Mutant(
        "a waiting rank is called busy",
        "pipeline/train/watch.py",
        "if other.rank not in silent and not other.waits]",
        "if other.rank not in silent]",
        GUARDS,
    ),
    Mutant(
        "another ZeRO stage starts anew",
        "pipeline/recipe_json.py",
        '    "zero_stage",\n',
        "",
        ("tests/pipeline/test_recipe_json.py",),
    ),
    Mutant(
        "padding typed in",
        "pipeline/train/figures.py",
        "return positions - len(torch.unique(gather))",
        "return 0",
        ("tests/pipeline/train/test_figures.py",),
    ),
    Mutant(
        "a patch meets the merger four times",
        "pipeline/train/flops.py",
        "return weight.numel() // merge**2 if",
        "return weight.numel() if",
        ("tests/pipeline/train/test_figures.py",),
    ),
    Mutant(
        "the launcher waits for the dead",
        "launchers/local.py",
        "while not any(codes := [rank.poll() for rank in ranks]) and None in codes:",
        "while None in (codes := [rank.poll() for rank in ranks]):",
        (f"{LOCAL[0]}::test_a_dead_process_ends_those_that_wait_for_it",),
    ),
    Mutant(
        "signals end at the launcher",
        "launchers/local.py",
        "rank.send_signal(_FORWARDED[signal.Signals(number)])",
        "rank.poll()",
        (f"{LOCAL[0]}::test_a_signal_to_stop_reaches_every_process",),
    ),
    Mutant(
        "a broken picture does not name its shard",
        "pipeline/train/feed.py",
        'raise DataError(f"{self.corpus.index.shard(item.row)}: {error}") from error',
        "raise",
        (f"{LOOP}::test_a_picture_that_cannot_be_decoded_stops_the_run_naming_shard_and_key",),
    ),
    Mutant(
        "another step is drawn",
        "jobs/show.py",
        "shown_step(feed, folder.tokenizer, step - 1)",
        "shown_step(feed, folder.tokenizer, step)",
        ("tests/jobs/test_show.py",),
    ),
    Mutant(
        "a shard of another size passes for whole",
        "pipeline/data/shard_part.py",
        ".stat().st_size == part.shard.bytes)",
        ".stat().st_size >= 0)",
        (f"{RESUME}::test_a_truncated_shard_is_made_again",),
    ),
    Mutant(
        "a kept picture crosses the end of a shard",
        "pipeline/data/mmeb.py",
        "if rows.begin_at(row.number):",
        "if rows.begin_at(row.number) and not row.number:",
        (f"{RESUME}::test_any_number_of_workers_writes_the_same_bytes",),
    ),
    Mutant(
        "statistics outlive the shard they speak of",
        "pipeline/data/shard_writer.py",
        "for path in (folder / STATS_NAME, part):",
        "for path in (part,):",
        (
            f"{RESUME}::test_killed_at_20_moments_and_restarted_gives_the_same_bytes",
            f"{RESUME}::test_a_lost_shard_is_made_again_and_no_other",
        ),
    ),
    Mutant(
        "pictures are not held against the index",
        "data_prep/verify.py",
        "if [hashlib.sha256(content).digest() for content in pictures] !=",
        "if len(pictures) < 0 and [] !=",
        ("tests/data_prep/test_verify.py",),
    ),
    Mutant(
        "leaks of shrunk pictures are missed",
        "data_prep/leaks.py",
        "        encoded = prepare(encoded)",
        "        prepare(encoded)",
        ("tests/data_prep/test_leaks.py::test_every_planted_leak_is_counted_and_no_other",),
    ),
    Mutant(
        "larger pictures than the shards hold",
        "pipeline/train/corpus.py",
        "wanted > held:",
        "wanted > held + 1:",
        ("tests/pipeline/train/test_corpus.py",),
    ),
    Mutant(
        "duplicate pictures are not counted",
        "pipeline/data/shard_merge.py",
        "stats.pictures - _distinct(hashes)",
        "0 * _distinct(hashes)",
        ("tests/eval/test_shards_page.py::test_figures_are_those_of_the_rows",),
    ),
    Mutant(
        "of two members of a name the last is taken",
        "pipeline/data/pictures.py",
        "if member.filename in self._doubled:",
        "if False:",
        BROKEN,
    ),
    Mutant(
        "links in a zip are read as pictures",
        "pipeline/data/pictures.py",
        "if stat.S_ISLNK(member.external_attr >> 16):",
        "if False:",
        BROKEN,
    ),
    Mutant(
        "of two values of a key the last is taken",
        "pipeline/data/json_array.py",
        "if len(found) == len(pairs):",
        "if True:",
        BROKEN,
    ),
    Mutant(
        "what follows a list is passed over",
        "pipeline/data/json_array.py",
        "        if self._peek():\n            raise",
        "        if False:\n            raise",
        BROKEN,
    ),
    Mutant(
        "footers are believed",
        "pipeline/data/parquet_rows.py",
        "if rows > max(FEW_ROWS, file.stat().st_size):",
        "if False:",
        (*BROKEN, "tests/pipeline/data/test_parquet_rows.py"),
    ),
    Mutant(
        "pages that unpack without end",
        "pipeline/data/parquet_rows.py",
        "if size > MAX_GROUP_BYTES:",
        "if False:",
        ("tests/pipeline/data/test_parquet_rows.py",),
    ),
    Mutant(
        "a row of a damaged group is lost",
        "pipeline/data/parquet_rows.py",
        "for row in range(done, stop):",
        "for row in range(done + 1, stop):",
        BROKEN,
    ),
    Mutant(
        "shrunk pictures are not verified",
        "data_prep/images.py",
        "        if self.verify:\n            _decode(",
        "        if self.verify and not large:\n            _decode(",
        ("tests/data_prep/test_images.py", "tests/data_prep/test_picture_fates.py"),
    ),
    Mutant(
        "mirrored pictures stay mirrored",
        "data_prep/images.py",
        "2 <= value <= 8",
        "value in (3, 6, 8)",
        ("tests/data_prep/test_picture_fates.py",),
    ),
    Mutant(
        "N24News as the paper misprints it",
        "pipeline/data/mmeb_train_sets.py",
        '        "I+T->T",\n        49,',
        '        "I+T->I",\n        49,',
        ("tests/pipeline/data/test_mmeb_train_sets.py",),
    ),
    Mutant(
        "zips in the place of folders are not looked into",
        "pipeline/data/pictures.py",
        "for archive, member in self._zipped(path):",
        "for archive, member in ():",
        ("tests/pipeline/data/test_sharegpt4v_release.py",),
    ),
    Mutant(
        "missing pictures are not counted",
        "pipeline/data/sharegpt4v_release.py",
        "missing[source] += not has(path)",
        "missing[source] += 0",
        ("tests/pipeline/data/test_sharegpt4v_release.py",),
    ),
    Mutant(
        "pools are left out of the fingerprint",
        "pipeline/data/mmeb.py",
        "repr((len(eval_set.queries), eval_set.pools))",
        "repr(len(eval_set.queries))",
        ("tests/data_prep/test_check_inputs.py",),
    ),
    Mutant(
        "pictures of one's own corpus enter unchecked",
        "data_prep/own_corpus.py",
        "images=tuple(prepare(image) for image in side.images)",
        "images=side.images",
        ("tests/data_prep/test_own_corpus.py",),
    ),
    Mutant(
        "splits share their shards",
        "data_prep/sources.py",
        'glob(f"{self.split}-*.parquet")',
        'glob("*.parquet")',
        ("tests/data_prep/test_own_corpus.py",),
    ),
    Mutant(
        "forecast forgets that ranks share the optimizer",
        "pipeline/train/preflight_memory.py",
        "    own = flat // num_ranks\n",
        "    own = flat\n",
        (f"{PREFLIGHT}::test_a_hand_worked_model",),
    ),
    Mutant(
        "forecast forgets the logits that are kept",
        "pipeline/train/preflight_trace.py",
        "return scored * embedder.backbone.vocab_size * 4",
        "return 0",
        (f"{PREFLIGHT}::test_bytes_that_graphs_keep_are_those_measured",),
    ),
    Mutant(
        "forecast forgets masters in float32",
        "pipeline/train/preflight_memory.py",
        "    optimizer = 3 * own * FLOAT32\n",
        "    optimizer = 2 * own * FLOAT32\n",
        (f"{PREFLIGHT}::test_state_bytes_are_those_of_real_tensors",),
    ),
    Mutant(
        "meter counts a storage as often as it is saved",
        "pipeline/train/saved_bytes.py",
        "if self._holders[storage] == 1:",
        "if self._holders[storage]:",
        (f"{PREFLIGHT}::test_the_meter_counts_each_storage_once_and_forgets_freed_graphs",),
    ),
    Mutant(
        "forecast without replays",
        "pipeline/train/preflight.py",
        "again = first * replayed * forward",
        "again = 0 * first * replayed * forward",
        (f"{PREFLIGHT}::test_published_shapes_need_their_config_alone",),
    ),
    Mutant(
        "what cannot fit is let through",
        "pipeline/train/preflight.py",
        "if memory.total <= room:",
        "if memory.total <= 10 * room:",
        (f"{PREFLIGHT}::test_what_cannot_fit_is_refused_in_one_line",),
    ),
    Mutant(
        "benchmark times steps that differ",
        "benchmarks/train_step.py",
        "if not differences[name] <= TOLERANCE:",
        "if differences[name] <= -TOLERANCE:",
        ("tests/benchmarks/test_train_step.py::test_what_differs_is_not_timed",),
    ),
    Mutant(
        "a frozen tower drifts",
        "pipeline/model/tower.py",
        "        return features",
        "        next(self.tower.parameters()).mul_(0.999)\n        return features",
        (*BUILD, "tests/pipeline/recipes/test_training.py::test_what_a_recipe_trains_moves_and_nothing_else"),
    ),
    Mutant(
        "held-out answers with the coin turned over",
        "pipeline/train/held_out.py",
        'self._language(engine, works[False], "full")',
        'self._language(engine, works[True], "full")',
        HELD_OUT,
    ),
    Mutant(
        "held-out rows under dropout", "pipeline/train/held_out.py", "engine.module.eval()", "engine.module.train()", HELD_OUT
    ),
    Mutant(
        "a checkpoint of other data is taken",
        "pipeline/train/checkpoint.py",
        "(course_fingerprint(recipe(folder)), state.data_fingerprint) == (course, data_fingerprint)",
        "course_fingerprint(recipe(folder)) == course",
        ("tests/pipeline/train/test_checkpoint.py",),
    ),
    Mutant(
        "one rank alone knows of the full disk",
        "pipeline/train/loop.py",
        "if on_any_rank(problem is not None):",
        "if problem is not None:",
        (f"{ACCIDENTS}::test_a_full_disk_of_the_rank_that_writes_ends_both",),
    ),
    Mutant(
        "cut answers are not counted",
        "pipeline/train/work.py",
        "num_cut=sum(row.sequence.cut for row in rows),",
        "num_cut=0,",
        ("tests/pipeline/train/test_feed.py",),
    ),
    Mutant(
        "temperature not logged",
        "pipeline/train/figures.py",
        '{"temperature": recipe.contrastive.temperature, **changing}',
        "changing",
        (f"{LOOP}::test_every_step_s_figures_go_to_the_file_and_to_the_tracker",),
    ),
    Mutant(
        "chat template not exported",
        "pipeline/export.py",
        '_COPIED = (*TOKENIZER_FILES, "chat_template*",',
        "_COPIED = (*TOKENIZER_FILES,",
        (f"{EXPORT[0]}::test_our_own_loader_reads_the_export_as_a_model_folder",),
    ),
    Mutant(
        "a rank that waits gives up while another gets on",
        "pipeline/train/watch.py",
        "and all(other.idle > self._patience(other) for other in others)",
        "",
        GUARDS,
    ),
    Mutant(
        "a start that hangs is never found",
        "pipeline/train/loop.py",
        "Watch(places.heartbeats, own_rank(), means.step_timeout) as watch:",
        "Watch(places.heartbeats, own_rank(), 1e6) as watch:",
        (f"{ACCIDENTS}::test_a_rank_that_hangs_before_the_first_step_is_found_too",),
    ),
    Mutant(
        "ranks that do not come end in a traceback",
        "pipeline/train/engine.py",
        "    except dist.DistError as error:\n",
        "    except ZeroDivisionError as error:\n",
        (f"{GUARDS[0]}::test_ranks_that_do_not_come_are_one_line",),
    ),
    Mutant(
        "Ctrl-C ends without a checkpoint",
        "pipeline/train/stop.py",
        "SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)",
        "SIGNALS = (signal.SIGTERM, signal.SIGUSR1)",
        (f"{GUARDS[0]}::test_a_second_ctrl_c_ends_at_once",),
    ),
    Mutant(
        "a terminal's Ctrl-C ends the ranks",
        "launchers/local.py",
        "before = signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "before = signal.getsignal(signal.SIGINT)",
        LOCAL,
    ),
    Mutant(
        "a second Ctrl-C is a note as well",
        "pipeline/train/stop.py",
        "            signal.signal(number, signal.default_int_handler)\n",
        "",
        (f"{GUARDS[0]}::test_a_second_ctrl_c_ends_at_once",),
    ),
    Mutant(
        "weights of a pooling not exported",
        "pipeline/export.py",
        "    if pooling:\n",
        "    if pooling and False:\n",
        EXPORT,
    ),
    Mutant(
        "exported MLP is passed over",
        "README.md",
        "        states = inner @ learnt",
        "        inner @ learnt",
        (f"{EXPORT[0]}::test_another_program_makes_the_same_embeddings",),
    ),
    Mutant(
        "windows stay where their length put them",
        "pipeline/model/attention.py",
        ".index_select(0, order.argsort())[None]",
        ".index_select(0, order)[None]",
        (*ATTENTION, *FAMILIES),
    ),
    Mutant(
        "a call for every run of windows",
        "pipeline/model/attention.py",
        "if bool((lengths.diff() >= 0).all()):",
        "if True:",
        (f"{ATTENTION[0]}::test_sequences_of_one_length_are_one_call_wherever_they_stand",),
    ),
    Mutant(
        "a live writer's file is swept away",
        "pipeline/data/aside.py",
        "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        ("tests/pipeline/data/test_aside.py",),
    ),
)


def survives(mutant: Mutant, tree: Path) -> str | None:
    """None when the guarding tests fail as they must; otherwise what is wrong."""
    file = tree / mutant.file
    original = file.read_text()
    if original.count(mutant.old) != 1:
        return f"its text occurs {original.count(mutant.old)} times in {mutant.file}"
    file.write_text(original.replace(mutant.old, mutant.new))
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    finally:
        file.write_text(original)
    if done.returncode == 1:
        return None
    return "it survived" if done.returncode == 0 else f"pytest could not run: {done.stdout[-300:]}{done.stderr[-300:]}"


def main() -> int:
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or mutant.name in sys.argv[1:]]
    failures = 0
    with tempfile.TemporaryDirectory() as aside:
        tree = Path(aside)
        for package in (*PACKAGES, "docs"):
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("setup.cfg", "README.md"):
            shutil.copy(ROOT / name, tree)
        for number, mutant in enumerate(chosen, 1):
            begun = time.monotonic()
            wrong = survives(mutant, tree)
            failures += wrong is not None
            verdict = "red" if wrong is None else f"SURVIVES: {wrong}"
            print(f"{number}/{len(chosen)} {verdict}: {mutant.name} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{len(chosen) - failures} of {len(chosen)} mutants red")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
