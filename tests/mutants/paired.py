"""Ways to break the comparison of two runs."""

from tests.mutants.mutant import Mutant

PAIRED = ("tests/eval/test_paired.py",)
PAGE = ("tests/eval/test_compare_page.py",)
EVALUATE = ("tests/jobs/test_evaluate.py::test_found_results_are_noted_in_the_tracker_too",)

MUTANTS = (
    Mutant(
        "signs are drawn for a set, not for a query",
        "eval/paired.py",
        "size=(min(block, flips - start), len(moved)), dtype=np.int8)",
        "size=(min(block, flips - start), 1), dtype=np.int8).repeat(len(moved), axis=1)",
        PAIRED,
    ),
    Mutant(
        "the test looks at one side",
        "eval/paired.py",
        "far = np.abs(means / len(strata)) >= seen - 1e-12",
        "far = means / len(strata) >= seen - 1e-12",
        PAIRED,
    ),
    Mutant(
        "the difference that was seen does not count",
        "eval/paired.py",
        "return float((1 + far.sum()) / (1 + flips))",
        "return float((far & (means != means.mean())).sum() / flips)",
        PAIRED,
    ),
    Mutant(
        "larger sets weigh more in a mean",
        "eval/paired.py",
        "first=float(np.mean([np.mean(one.hits) for one, _ in pairs])),",
        "first=float(np.mean([hit for one, _ in pairs for hit in one.hits])),",
        PAIRED,
    ),
    Mutant(
        "runs on other data are compared",
        "eval/shared_sets.py",
        "        if len({item.provenance.data for item in row}) > 1:\n",
        "        if False:\n",
        PAIRED,
    ),
    Mutant(
        "runs by other rules are compared",
        "eval/shared_sets.py",
        "        if other != rules[0]:\n",
        "        if False:\n",
        PAIRED,
    ),
    Mutant(
        "the spread of three runs is that of a population",
        "eval/spread.py",
        "np.std(self.values, ddof=1)",
        "np.std(self.values)",
        PAIRED,
    ),
    Mutant(
        "won and lost are exchanged",
        "eval/paired.py",
        "won=int(sum((values > 0).sum()",
        "won=int(sum((values < 0).sum()",
        PAIRED,
    ),
    Mutant(
        "the page shows every query",
        "eval/compare_page.py",
        "np.flatnonzero(np.array(one.hits) != np.array(other.hits))",
        "np.flatnonzero(np.array(one.hits) >= 0)",
        PAGE,
    ),
    Mutant(
        "the page shows pictures of another data folder",
        "eval/compare_page.py",
        "    if fingerprint([content, eval_set.pools]) != result.provenance.data:\n",
        "    if False:\n",
        PAGE,
    ),
    Mutant(
        "words of the data are markup of the page",
        "eval/compare_page.py",
        "{escape(side.text)}</td>",
        "{side.text}</td>",
        PAGE,
    ),
    Mutant(
        "only hit at 1 is tracked",
        "eval/mmeb.py",
        'every = self.means() | {"hit_at_1": hits}',
        'every = {"hit_at_1": hits}',
        EVALUATE,
    ),
)
