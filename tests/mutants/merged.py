"""Ways to evaluate another model than the one that was trained."""

from tests.mutants.mutant import Mutant

MERGED = ("tests/pipeline/test_merged.py",)

MUTANTS = (
    Mutant(
        "adapters are left out where they should be merged",
        "pipeline/model/adapters.py",
        "        layer.merge()\n",
        "",
        (f"{MERGED[0]}::test_a_merged_model_says_what_the_adapters_said",),
    ),
    Mutant(
        "a merged model passes for the one with its adapters apart",
        "pipeline/merged.py",
        'fingerprint=f"merged {model.fingerprint}"',
        "fingerprint=model.fingerprint",
        (f"{MERGED[0]}::test_a_merged_model_says_what_the_adapters_said",),
    ),
)
