"""Ways to break the figure of what compression tokens look at."""

from tests.mutants.mutant import Mutant

WEIGHTS = ("tests/pipeline/model/test_token_attention.py",)
MEASURES = ("tests/eval/attention/test_measures.py",)
COMMAND = ("tests/eval/attention/test_command.py",)

MUTANTS = (
    Mutant(
        "tokens are watched in every layer",
        "pipeline/model/token_attention.py",
        "if module.layer_idx == plan.layer:",
        "if plan.layer or not plan.seen:",
        WEIGHTS,
    ),
    Mutant(
        "hidden roles get attention in the figure",
        "pipeline/model/token_attention.py",
        "return torch.isin(roles, seen) & (",
        "return torch.ones_like(torch.isin(roles, seen)) & (",
        WEIGHTS,
    ),
    Mutant(
        "tokens of the figure see later ones",
        "pipeline/model/token_attention.py",
        "<= queries[:, None])",
        "<= queries.max())",
        WEIGHTS,
    ),
    Mutant(
        "query heads of the figure take the keys in turn",
        "pipeline/model/token_attention.py",
        ".repeat_interleave(query.shape[1] // key.shape[1], dim=0)",
        ".repeat(query.shape[1] // key.shape[1], 1, 1)",
        WEIGHTS,
    ),
    Mutant(
        "a model stays watched",
        "pipeline/model/token_attention.py",
        "family.use_attention(model, text=TEXT_ATTENTION, vision=VISION_ATTENTION)",
        "pass",
        WEIGHTS,
    ),
    Mutant(
        "coverage counts the lightest tokens", "eval/attention/measures.py", "np.argsort(-parts,", "np.argsort(parts,", MEASURES
    ),
    Mutant(
        "covered together is what all tokens cover",
        "eval/attention/measures.py",
        "half(weights).any(axis=-2)",
        "half(weights).all(axis=-2)",
        MEASURES,
    ),
    Mutant(
        "entropy counts what the picture does not get",
        "eval/attention/measures.py",
        "    parts = _parts(weights)\n    logs",
        "    parts = np.asarray(weights, dtype=np.float64)\n    logs",
        MEASURES,
    ),
    Mutant(
        "the first head stands for all",
        "eval/attention/looks.py",
        "weights.mean(axis=0, keepdims=True)",
        "weights[:1]",
        COMMAND,
    ),
    Mutant(
        "all pictures of a row show the first one's weights",
        "eval/attention/looks.py",
        "own = weights[..., start :",
        "start = sequence.image_starts[0]\n        own = weights[..., start :",
        COMMAND,
    ),
    Mutant(
        "a thumbnail's weights count once a tile",
        "pipeline/model/tiles.py",
        ".repeat(columns, axis=-1) / count",
        ".repeat(columns, axis=-1)",
        COMMAND,
    ),
    Mutant(
        "tiles stand below each other in the figure",
        "pipeline/model/tiles.py",
        "np.moveaxis(cut, -3, -2)",
        "cut",
        COMMAND,
    ),
    Mutant(
        "every map shows the first head",
        "eval/attention/page.py",
        "enumerate(look.maps[at])",
        "enumerate(look.maps[1])",
        COMMAND,
    ),
    Mutant(
        "a layer that is not there ends in the library",
        "eval/attention/looks.py",
        "    if not 0 <= at < num_layers:\n",
        "    if num_layers < 0:\n",
        COMMAND,
    ),
    Mutant(
        "a checkpoint without tokens is looked with",
        "eval/attention/looks.py",
        "    if not model.recipe.tokens.count:\n",
        "    if num_layers < 0:\n",
        COMMAND,
    ),
)
