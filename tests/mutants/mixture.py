"""Ways to break what a corpus is made of: mixtures, conversations, and the paper's printed rows."""

from tests.mutants.mutant import Mutant

MIXTURE = ("tests/pipeline/train/test_mixture.py",)
PRINTED = ("tests/pipeline/recipes/test_printed.py",)

MUTANTS = (
    Mutant(
        "the paper's headline is rounded up",
        "pipeline/recipes/printed.py",
        '"crem_7b", (68.3, 69.4, 72.9, 86.1, 75.6, 67.8, 72.1)',
        '"crem_7b", (68.3, 69.4, 72.9, 86.1, 75.6, 67.8, 72.5)',
        PRINTED,
    ),
    Mutant(
        "conversations of every set are drawn",
        "pipeline/train/corpus.py",
        "if phase.mixture.reads(name)}",
        "}",
        MIXTURE,
    ),
    Mutant(
        "the paper's recipe names no set of conversations",
        "pipeline/recipes/crem.py",
        "outside=128, outside_sets=(MIX,)",
        "outside=128",
        MIXTURE,
    ),
    Mutant(
        "a named set that is absent is passed over",
        "pipeline/train/corpus.py",
        '    if mixture.outside:\n        _refuse_absent("outside_sets"',
        '    if mixture.outside and False:\n        _refuse_absent("outside_sets"',
        MIXTURE,
    ),
    Mutant(
        "a weight of a set that is not read passes",
        "pipeline/train/corpus.py",
        "if name in talks and not mixture.reads(name)]",
        "if name in talks and not mixture.reads(name) and False]",
        MIXTURE,
    ),
    Mutant(
        "missing sets of MMEB-train are not said",
        "pipeline/train/opening.py",
        "        yield _mmeb(sizes)\n",
        "",
        MIXTURE,
    ),
    Mutant(
        "the opening keeps what it draws from to itself",
        "pipeline/train/loop.py",
        '"\\n".join([*drawn, said])',
        "said",
        ("tests/pipeline/train/test_loop.py",),
    ),
    Mutant(
        "the last of two weights wins",
        "pipeline/recipe.py",
        '        check_once("mixture.weights", [name for name, _ in self.weights])\n',
        "",
        ("tests/pipeline/test_recipe.py",),
    ),
    Mutant(
        "zero-shot recall is not listed",
        "pipeline/recipes/printed.py",
        "DATA, CAPTIONS, WEIGHTS",
        "DATA, WEIGHTS",
        PRINTED,
    ),
)
