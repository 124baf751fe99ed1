"""Ways to break pipeline/model."""

from tests.mutants.mutant import Mutant

BUILD = ("tests/pipeline/train/test_build.py",)
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
EXPORT = ("tests/pipeline/test_export.py",)
GENERATION = ("tests/pipeline/model/test_generation.py",)
HEAD = "tests/pipeline/model/test_head.py"

MUTANTS = (
    Mutant(
        "adapters are taken out, not merged",
        "pipeline/model/adapters.py",
        "        layer.merge()\n",
        "",
        ("tests/pipeline/recipes/test_training.py", "-k", "merged"),
    ),
    Mutant(
        "keys without a gradient",
        "pipeline/model/attention.py",
        "for part in (q, k, v))",
        "for part in (q, k.detach(), v))",
        ATTENTION,
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
        "pictures attend to each other",
        "pipeline/model/attention.py",
        "_equal_runs(cu_seq_lens_q.diff().tolist())",
        "[(0, 1, int(cu_seq_lens_q[-1]))]",
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
        "lengths[index + count] <= lengths[index]",
        FAMILIES,
    ),
    Mutant(
        "special tokens in text",
        "pipeline/model/backbone.py",
        "split_special_tokens=True",
        "split_special_tokens=False",
        SEQUENCE,
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
        "rotary frequencies of the tower in bfloat16",
        "pipeline/model/tower.py",
        "tower.to(device).eval()",
        "tower.to(device, dtype).eval()",
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
    Mutant(
        "positions shifted after the cut",
        "pipeline/model/generation.py",
        "position=batch.position_ids[:, last].max(dim=0).values + 1",
        "position=torch.tensor([len(places) for places in kept])",
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
    Mutant(
        "pixels rescaled in float32",
        "pipeline/model/inputs.py",
        "(pictures.double() * (1 / 255)).float()",
        "pictures.float() / 255.5",
        ("tests/pipeline/model/test_inputs.py",),
    ),
    Mutant(
        "logits of all scored positions are kept",
        "pipeline/model/head.py",
        "checkpoint(self._losses, *piece, use_reentrant=False, preserve_rng_state=False)",
        "self._losses(*piece)",
        (f"{HEAD}::test_no_logits_are_kept",),
    ),
    Mutant(
        "weights of the head are gathered once a piece",
        "pipeline/model/head.py",
        "cross_entropy(super().forward(states)",
        "cross_entropy(self(states)",
        (f"{HEAD}::test_the_head_is_called_once_however_many_pieces",),
    ),
)
