"""Ways to break what a corpus is made of: mixtures, conversations, and the paper's printed rows."""

from tests.mutants.mutant import Mutant

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
        "zero-shot recall is not listed",
        "pipeline/recipes/printed.py",
        "DATA, CAPTIONS, WEIGHTS",
        "DATA, WEIGHTS",
        PRINTED,
    ),
)
