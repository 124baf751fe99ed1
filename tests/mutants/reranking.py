"""The reranker: what it is trained on, how it scores, and what becomes of a ranking."""

from tests.mutants.mutant import Mutant

PLACES = ("tests/eval/test_reranking.py",)
SCORES = ("tests/pipeline/test_reranker.py",)
COMPARED = ("tests/pipeline/train/dataloader/test_comparisons.py",)
REFERENCES = ("tests/pipeline/data/test_references.py",)
STAGE = ("tests/jobs/test_mine.py",)

MUTANTS = (
    Mutant(
        "reranking: the question runs into the last candidate",
        "pipeline/targets.py",
        'text=f"{side.text}\\nQuestion:"',
        "text=side.text",
        ("tests/pipeline/test_targets.py",),
    ),
    Mutant(
        "reranking: candidates that are not asked about come before",
        "eval/reranking.py",
        "    if place >= top:\n",
        "    if place > top:\n",
        PLACES,
    ),
    Mutant(
        "reranking: a tie is broken in favour of the right candidate",
        "eval/reranking.py",
        "    place = better + tied - 1\n",
        "    place = better\n",
        PLACES,
    ),
    Mutant(
        "reranking: candidates with the same word lose their order",
        "eval/reranking.py",
        "(gap > TIE_TOLERANCE).sum() + is_level[:better].sum()",
        "(gap > TIE_TOLERANCE).sum()",
        PLACES,
    ),
    Mutant(
        "reranking: what another reranker said is taken for this one's",
        "eval/reranking.py",
        '{**own, "reranker": self.reranker.fingerprint, "top": self.top}',
        '{**own, "top": self.top}',
        PLACES,
    ),
    Mutant(
        "reranking: how likely a candidate is no answer",
        "pipeline/reranker.py",
        "logits[:, self.yes] - logits[:, self.no]",
        "logits[:, self.no] - logits[:, self.yes]",
        SCORES,
    ),
    Mutant(
        "reranking: all that the model is sure about is tied",
        "pipeline/reranker.py",
        "(logits[:, self.yes] - logits[:, self.no])",
        "torch.sigmoid(logits[:, self.yes] - logits[:, self.no])",
        SCORES,
    ),
    Mutant(
        "reranking: the state before the last is read",
        "pipeline/reranker.py",
        "int(place[-1])",
        "int(place[-2])",
        SCORES,
    ),
    Mutant(
        "a candidate's pictures are counted from one again",
        "pipeline/sample.py",
        "int(marker[1]) + before",
        "int(marker[1]) + 0",
        SCORES,
    ),
    Mutant(
        "a list says the place from 0",
        "pipeline/train/dataloader/comparisons.py",
        "str(place + 1), OUTSIDE)",
        "str(place), OUTSIDE)",
        COMPARED,
    ),
    Mutant(
        "the right candidate is always the first of a list",
        "pipeline/train/dataloader/comparisons.py",
        "place = int(drawn.integers(len(others) + 1))",
        "place = 0",
        COMPARED,
    ),
    Mutant(
        "what a judge said yes to is right for nobody",
        "pipeline/train/dataloader/comparisons.py",
        '[(row, SIDES.index("positive")), *self._also_right(row)]',
        '[(row, SIDES.index("positive"))]',
        COMPARED,
    ),
    Mutant(
        "a judge's yes is right for those who do not believe it",
        "pipeline/train/dataloader/comparisons.py",
        "if self.corpus.right and self.target.judged_right else []",
        "if self.corpus.right else []",
        COMPARED,
    ),
    Mutant(
        "held-out rows are right in training",
        "pipeline/train/dataloader/comparisons.py",
        "if reference[0] not in self.held_out]",
        "if reference]",
        COMPARED,
    ),
    Mutant(
        "a list enters the mean of single candidates",
        "pipeline/train/dataloader/comparisons.py",
        "str(place + 1), OUTSIDE)",
        "str(place + 1), OWN)",
        COMPARED,
    ),
    Mutant(
        "a list is as long as it likes",
        "pipeline/train/dataloader/comparisons.py",
        "        return tokens + self._label",
        "        return True or tokens + self._label",
        COMPARED,
    ),
    Mutant(
        "what had no verdict counts as yes",
        "pipeline/data/references.py",
        'pc.fill_null(pc.greater(table.column("margin"), 0), False)',
        'pc.fill_null(pc.greater(table.column("margin"), 0), True)',
        REFERENCES,
    ),
    Mutant(
        "mining: by the weights that a phase begins with, not by the phase before it",
        "jobs/train.py",
        'self.recipe.with_phase(start="merged")',
        "self.recipe",
        STAGE,
    ),
)
