"""Ways to break what tests once held against itself, or too loosely to notice."""

from tests.mutants.mutant import Mutant

FIGURES = ("tests/pipeline/train/test_step_metrics.py",)
PREFLIGHT = ("tests/pipeline/train/forecast/test_forecast.py", "-k", "flops or work or hand or two_gib")
SCHEDULE = ("tests/pipeline/train/test_schedule.py",)
EMBEDDER = ("tests/pipeline/model/test_embedder.py",)
METRICS = ("tests/eval/test_metrics.py",)
MATCHER = ("tests/eval/test_option_matcher.py",)
SEQUENCE = ("tests/pipeline/test_sequence.py",)
BATCH = ("tests/pipeline/test_batch.py",)
TOKENS = ("tests/pipeline/model/test_compression.py", "-k", "start")
INPUTS = ("tests/pipeline/model/test_inputs.py",)
FEED = ("tests/pipeline/train/dataloader/test_step_dataset.py",)
SAMPLER = ("tests/pipeline/data/test_sampler.py",)
LOSSES = ("tests/pipeline/losses/test_losses.py",)

_FLOPS, _PREFLIGHT = "pipeline/train/flops.py", "pipeline/train/forecast/forecast.py"

MUTANTS = (
    Mutant("figures: a GPU's name with dashes is not known", _FLOPS, '.replace("-", " ").split()', ".split()", FIGURES),
    Mutant(
        "forecast: hours without replays", _PREFLIGHT, "return self.work.hardware / (", "return self.work.model / (", PREFLIGHT
    ),
    Mutant("forecast: one GPU does it all", _PREFLIGHT, "(self.num_gpus * self.gpu.peak", "(self.gpu.peak", PREFLIGHT),
    Mutant("forecast: utilisation doubled", _PREFLIGHT, "UTILISATION = 0.4", "UTILISATION = 0.8", PREFLIGHT),
    Mutant("forecast: scores take no memory", _PREFLIGHT, "3 * mixture.pairs * candidates)", "0)", PREFLIGHT),
    Mutant("forecast: nothing is left alone", _PREFLIGHT, "RESERVE = 2 * GIB", "RESERVE = 0", PREFLIGHT),
    Mutant(
        "forecast: hard negatives forgotten",
        "pipeline/train/forecast/assumed_rows.py",
        "mixture.pairs * self.recipe.phase.negatives.most, mixture.outside",
        "0, mixture.outside",
        PREFLIGHT,
    ),
    Mutant("an H100 is an A100", "pipeline/train/forecast/gpus.py", '"h100-80g", 79.1, 989', '"h100-80g", 79.1, 312', FIGURES),
    Mutant("warm-up from zero", "pipeline/train/schedule.py", "(step + 1) / warmup", "step / warmup", SCHEDULE),
    Mutant(
        "cosine counts the warm-up",
        "pipeline/train/schedule.py",
        "(step - warmup) / max",
        "step / max",
        SCHEDULE,
    ),
    Mutant(
        "cosine without a floor", "pipeline/train/schedule.py", "optimizer.floor + (1 - optimizer.floor) *", "1.0 *", SCHEDULE
    ),
    Mutant("a quarter of a circle", "pipeline/train/schedule.py", "math.cos(math.pi *", "math.cos(0.5 * math.pi *", SCHEDULE),
    Mutant(
        "the last token is not pooled",
        "pipeline/model/pooling.py",
        "return states.float().mean(",
        "return states.float()[:, :-1].mean(",
        EMBEDDER,
    ),
    Mutant(
        "greatest instead of mean",
        "pipeline/model/pooling.py",
        "return states.float().mean(",
        "return states.float().amax(",
        EMBEDDER,
    ),
    Mutant(
        "precision looks along the queries",
        "pipeline/losses/contrastive.py",
        "scores.max(dim=1, keepdim=True)",
        "scores.max(dim=0, keepdim=True)",
        LOSSES,
    ),
    Mutant(
        "all datasets in one order",
        "pipeline/data/sampler.py",
        'generator(self.seed, "epoch", self.names[index], epoch)',
        'generator(self.seed, "epoch", epoch)',
        SAMPLER,
    ),
    Mutant(
        "runs by the names of their datasets",
        "pipeline/data/sampler.py",
        'for position in generator(self.seed, "runs", step).permutation(len(runs))',
        "for position in range(len(runs))",
        SAMPLER,
    ),
    Mutant("the cheapest is dealt first", "pipeline/data/sampler.py", "(-costs[item], item)", "(costs[item], item)", SAMPLER),
    Mutant("near scores are ties", "eval/metrics.py", "TIE_TOLERANCE = 1e-6", "TIE_TOLERANCE = 5e-5", METRICS),
    Mutant("intervals of another level", "eval/metrics.py", "LEVEL = 0.95", "LEVEL = 0.97", METRICS),
    Mutant(
        "datasets are redrawn alike",
        "eval/metrics.py",
        "np.random.default_rng([seed, number])",
        "np.random.default_rng(seed)",
        METRICS,
    ),
    Mutant("a full stop too many goes", "eval/option_matcher.py", "_REMOVED = 32", "_REMOVED = 33", MATCHER),
    Mutant(
        "a text at the end of another is unseen",
        "eval/reconstruct.py",
        "range(len(words) - MIN_WORDS + 1)",
        "range(len(words) - MIN_WORDS)",
        ("tests/eval/test_reconstruct.py",),
    ),
    Mutant(
        "blank pictures lie on their side",
        "eval/pictures.py",
        "_grey(*size_of(picture))",
        "_grey(*size_of(picture)[::-1])",
        ("tests/eval/test_mmeb.py",),
    ),
    Mutant(
        "pictures are counted from 0",
        "pipeline/data/mmeb_rows.py",
        "if 1 <= number <= images",
        "if 0 <= number <= images",
        ("tests/pipeline/data/test_mmeb_irregular.py",),
    ),
    Mutant(
        "white space around answers is learnt",
        "pipeline/sequence.py",
        "encode(turn.answer.strip())",
        "encode(turn.answer)",
        SEQUENCE,
    ),
    Mutant(
        "a token more than the role's last",
        "pipeline/sequence.py",
        "np.flatnonzero(self.roles == role)[-1]) + 1",
        "np.flatnonzero(self.roles == role)[-1]) + 2",
        SEQUENCE,
    ),
    Mutant(
        "a chunk takes a token too many", "pipeline/batch.py", "len(row.sequence) > room:", "len(row.sequence) > room + 1:", BATCH
    ),
    Mutant("every chunk is one row", "pipeline/batch.py", "            room = budget\n", "            room = 0\n", BATCH),
    Mutant(
        "spread of the table is its mean",
        "pipeline/model/compression.py",
        "spread = table.float().std()",
        "spread = table.float().mean()",
        TOKENS,
    ),
    Mutant(
        "a random start near zero",
        "pipeline/model/compression.py",
        "            return noise\n",
        "            return 0.1 * noise\n",
        TOKENS,
    ),
    Mutant(
        "the longest picture allowed is refused", "pipeline/model/inputs.py", "> MAX_ASPECT * min", ">= MAX_ASPECT * min", INPUTS
    ),
    Mutant("photos lie on their side", "pipeline/model/inputs.py", "rgb(upright(picture))", "rgb(picture)", INPUTS),
    Mutant(
        "one coin for all rows of a step",
        "pipeline/train/dataloader/step_dataset.py",
        "words = (self.recipe.order_seed, step, sample.key, planned.name)",
        "words = (self.recipe.seed, step, planned.name)",
        FEED,
    ),
    Mutant(
        "one coin for a row's two sides",
        "pipeline/train/dataloader/step_dataset.py",
        "words = (self.recipe.order_seed, step, sample.key, planned.name)",
        "words = (self.recipe.order_seed, step, sample.key)",
        FEED,
    ),
    Mutant("one coin for ever", "pipeline/train/dataloader/step_dataset.py", '"gate", *words)', '"gate", *words[2:])', FEED),
    Mutant(
        "pictures are not part of an item",
        "pipeline/train/dataloader/step_dataset.py",
        "digest.update(hashlib.sha256(picture).digest())",
        "pass",
        FEED,
    ),
    Mutant(
        "the dummy batch is the longest row",
        "pipeline/train/dataloader/step_work.py",
        "pack_for(recipe, [min(rows, key",
        "pack_for(recipe, [max(rows, key",
        FEED,
    ),
    Mutant(
        "a trained head rounds its losses",
        "pipeline/model/head.py",
        "cross_entropy(super().forward(states).float(), targets",
        "cross_entropy(super().forward(states), targets",
        ("tests/pipeline/model/test_head.py",),
    ),
    Mutant(
        "texts are looked for before labels",
        "eval/option_matcher.py",
        "self._label(answer, options) or self._text(answer, options)",
        "self._text(answer, options) or self._label(answer, options)",
        MATCHER,
    ),
    Mutant("a Z among labels refuses", "eval/option_matcher.py", "if not named and REFUSED in", "if REFUSED in", MATCHER),
    Mutant(
        "a side's further pictures are not looked at",
        "pipeline/encode/workload.py",
        "side.instruction + side.text, side.images",
        "side.instruction + side.text, side.images[:1]",
        ("tests/pipeline/encode/test_encode.py",),
    ),
    Mutant(
        "blank sides have no instruction",
        "eval/pictures.py",
        "Side(instruction=side.instruction, text=side.text",
        "Side(text=side.text",
        ("tests/eval/test_mmeb.py",),
    ),
    Mutant(
        "views begin in a corner",
        "pipeline/model/inputs.py",
        "random.uniform(0.0, (1.0 - width, 1.0 - height))",
        "(0.0, 0.0)",
        INPUTS,
    ),
    Mutant("views are as wide as they are high", "pipeline/model/inputs.py", "size=2)\n", "size=1).repeat(2)\n", INPUTS),
    Mutant(
        "views are as small as allowed",
        "pipeline/model/inputs.py",
        "random.uniform(least, 1.0, size=2)",
        "(least, least)",
        INPUTS,
    ),
    Mutant(
        "figures: one device's utilisation",
        "pipeline/train/step_metrics.py",
        "utilisation(total, clock.seconds * num_ranks,",
        "utilisation(total, clock.seconds,",
        FIGURES,
    ),
    Mutant(
        "no conversation is native",
        "pipeline/train/dataloader/step_dataset.py",
        "native = outside and coin(",
        "native = False and coin(",
        FEED,
    ),
    Mutant(
        "native rows are compressed",
        "pipeline/train/dataloader/step_dataset.py",
        "compressed=not native and bool(",
        "compressed=bool(",
        FEED,
    ),
)
