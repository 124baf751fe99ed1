"""Ways to score the cross-domain sets by other rules than theirs."""

from tests.mutants.mutant import Mutant

RANKS = ("tests/eval/test_first_ranks.py",)
SETS = ("tests/eval/test_cross_domain.py",)
READERS = ("tests/pipeline/data/test_caption_sets.py",)

MUTANTS = (
    Mutant(
        "the worst of several right captions counts",
        "eval/first_ranks.py",
        "np.array([scores.max() for scores in own], dtype=np.float32)",
        "np.array([scores.min() for scores in own], dtype=np.float32)",
        RANKS,
    ),
    Mutant(
        "right ones in a tie count as one",
        "eval/first_ranks.py",
        "max(1, int((scores >= each).sum()))",
        "max(1, int((scores >= each).any()))",
        RANKS,
    ),
    Mutant(
        "chance forgets that several are right",
        "eval/first_ranks.py",
        "Ranking((Tied(each[0], (1,) * each[1]),))",
        "Ranking((Tied(each[0], (1,)),))",
        RANKS,
    ),
    Mutant(
        "captions are whose stands at their number",
        "eval/cross_domain_set.py",
        "        own[owner].append(caption)\n",
        "        own[caption % len(own)].append(caption)\n",
        SETS,
    ),
    Mutant(
        "wrong captions stand first",
        "eval/cross_domain_set.py",
        "for pair in zip(each.right, each.wrong, strict=True) for text in pair",
        "for pair in zip(each.wrong, each.right, strict=True) for text in pair",
        SETS,
    ),
    Mutant(
        "a group is the mean over its rows",
        "eval/cross_domain.py",
        "value = float(np.mean([hits.mean() for hits in strata]))",
        "value = float(np.concatenate(strata[:1]).mean())",
        SETS,
    ),
    Mutant(
        "a part passes for the published test",
        "pipeline/data/caption_sets.py",
        "return len(self.pictures) != self.expected",
        "return not self.pictures",
        READERS,
    ),
    Mutant(
        "pictures of every split count",
        "pipeline/data/caption_sets.py",
        'found.get("split") != "test"',
        'found.get("split") == "val"',
        READERS,
    ),
    Mutant(
        "a picture in two rows is passed over",
        "pipeline/data/caption_sets.py",
        "            if path in known:\n",
        "            if False:\n",
        READERS,
    ),
    Mutant(
        "all pictures of a set stand in memory",
        "pipeline/data/lazy_sides.py",
        "Lazy(len(paths), lambda number: self.read(paths[number]))",
        "[self.read(path) for path in paths]",
        READERS,
    ),
    Mutant(
        "sides of a third part are those of the first",
        "pipeline/data/lazy_sides.py",
        "parts[part][number - ends[part]]",
        "parts[part][number - ends[min(part, 1)]]",
        ("tests/pipeline/data/test_lazy_sides.py",),
    ),
    Mutant(
        "a wrong caption may be the right one",
        "pipeline/data/sugarcrepe.py",
        "    if right == wrong:\n",
        "    if False:\n",
        READERS,
    ),
)
