"""Ways to break what tests once held against itself, or too loosely to notice."""

from tests.mutants.mutant import Mutant

FIGURES = ("tests/pipeline/train/test_figures.py",)
PREFLIGHT = ("tests/pipeline/train/test_preflight.py", "-k", "flops or work or hand or two_gib")
SCHEDULE = ("tests/pipeline/train/test_schedule.py",)
EMBEDDER = ("tests/pipeline/model/test_embedder.py",)
SAMPLER = ("tests/pipeline/data/test_sampler.py",)
LOSSES = ("tests/pipeline/losses/test_losses.py",)

_FLOPS, _TRACE, _PREFLIGHT = "pipeline/train/flops.py", "pipeline/train/preflight_trace.py", "pipeline/train/preflight.py"

MUTANTS = (
    Mutant("figures: adapters cost as whole weights", _FLOPS, "in weights) else 2,", "in weights) else 3,", FIGURES),
    Mutant(
        "figures: a frozen tower has gradients",
        _FLOPS,
        "in tower.parameters()) else 1,",
        "in tower.parameters()) else 3,",
        FIGURES,
    ),
    Mutant("figures: adapters are weights", _FLOPS, 'in layers if ".lora_" not in name]', "in layers]", FIGURES),
    Mutant(
        "figures: layers never run again",
        _FLOPS,
        "(text - head if phase.gradient_checkpointing",
        "(text - head if False",
        FIGURES,
    ),
    Mutant("figures: a trained tower costs one pass", _FLOPS, "self.tower_passes * tower\n", "tower\n", FIGURES),
    Mutant("figures: the first pass is blind", _FLOPS, "return text + tower if self", "return text if self", FIGURES),
    Mutant(
        "figures: attention inside the tower halved",
        _FLOPS,
        "4.0 * self.picture_attention",
        "2.0 * self.picture_attention",
        FIGURES,
    ),
    Mutant("figures: a GPU's name with dashes is not known", _FLOPS, '.replace("-", " ").split()', ".split()", FIGURES),
    Mutant("forecast: attention halved", _TRACE, "return float(4.0 * seen", "return float(2.0 * seen", PREFLIGHT),
    Mutant(
        "forecast: attention without its causal half", _TRACE, "(lengths * (lengths + 1) / 2)", "(lengths * lengths)", PREFLIGHT
    ),
    Mutant("forecast: one gradient of attention", _TRACE, "backward + 2 * attention", "backward + attention", PREFLIGHT),
    Mutant("forecast: attention of the tower halved", _TRACE, "4.0 * patches**2", "2.0 * patches**2", PREFLIGHT),
    Mutant("forecast: tower halved", _TRACE, "float(2.0 * patches * inside", "float(1.0 * patches * inside", PREFLIGHT),
    Mutant("forecast: merger halved", _TRACE, "merger = 2.0 * visual", "merger = 1.0 * visual", PREFLIGHT),
    Mutant(
        "forecast: tokens packed once count once a row",
        _TRACE,
        "tokens=sum(len(row.sequence) for row in rows),",
        "tokens=len(batch.input_ids),",
        PREFLIGHT,
    ),
    Mutant("forecast: a trained tower costs one pass", _PREFLIGHT, "(3 if trained else 1)", "1", PREFLIGHT),
    Mutant(
        "forecast: hours without replays", _PREFLIGHT, "return self.work.hardware / (", "return self.work.model / (", PREFLIGHT
    ),
    Mutant("forecast: one GPU does it all", _PREFLIGHT, "(self.num_gpus * self.gpu.peak", "(self.gpu.peak", PREFLIGHT),
    Mutant("forecast: utilisation doubled", _PREFLIGHT, "UTILISATION = 0.4", "UTILISATION = 0.8", PREFLIGHT),
    Mutant("forecast: scores take no memory", _PREFLIGHT, "3 * mixture.pairs * candidates)", "0)", PREFLIGHT),
    Mutant("forecast: kept chunks take no memory", _PREFLIGHT, "(min(phase.kept_chunks, work.chunks - 1) + 1)", "1", PREFLIGHT),
    Mutant("forecast: nothing is left alone", _PREFLIGHT, "RESERVE = 2 * GIB", "RESERVE = 0", PREFLIGHT),
    Mutant(
        "forecast: hard negatives forgotten",
        "pipeline/train/preflight_rows.py",
        "mixture.pairs * mixture.negatives, mixture.outside",
        "0, mixture.outside",
        PREFLIGHT,
    ),
    Mutant("an H100 is an A100", "pipeline/train/gpus.py", '"h100-80g", 79.1, 989', '"h100-80g", 79.1, 312', FIGURES),
    Mutant("warm-up from zero", "pipeline/train/schedule.py", "(step + 1) / optimizer", "step / optimizer", SCHEDULE),
    Mutant(
        "cosine counts the warm-up",
        "pipeline/train/schedule.py",
        "done = (step - optimizer.warmup_steps)",
        "done = step",
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
)
