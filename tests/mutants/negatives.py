"""Hard negatives: mining, references, and their place in the loss."""

from tests.mutants.mutant import Mutant

NEAREST = ("tests/data_prep/negatives/test_nearest.py",)
MINING = ("tests/data_prep/negatives/test_mining.py",)
STAGE = ("tests/jobs/test_mine.py",)
JUDGING = ("tests/data_prep/negatives/test_judging.py",)
JUDGE_STAGE = ("tests/jobs/test_judge.py",)
SCENE_JUDGE = ("tests/data_prep/test_scene_judge.py",)
LOADER = ("tests/pipeline/train/dataloader",)

MUTANTS = (
    Mutant(
        "mining: positives are ranked",
        "data_prep/negatives/nearest.py",
        "there = np.repeat(np.arange(len(counts)), counts), (own >= 0) & (own < len(part))",
        "there = np.repeat(np.arange(len(counts)), counts), own < -1",
        NEAREST + MINING,
    ),
    Mutant(
        "mining: all that equal the last rank are left out",
        "data_prep/negatives/nearest.py",
        "level.cumsum(dim=1) <= most - above.sum(dim=1, keepdim=True)",
        "level.cumsum(dim=1) > level.sum(dim=1, keepdim=True) - most + above.sum(dim=1, keepdim=True)",
        NEAREST,
    ),
    Mutant(
        "mining: equals of a gold in other words are ranked",
        "data_prep/negatives/candidates.py",
        "_excluded(pairs, query_of, query_first, pairs.positive_bare[candidate_first])",
        "_excluded(pairs, query_of, query_first, pairs.positive[candidate_first])",
        MINING,
    ),
    Mutant(
        "mining: a query's own picture is ranked",
        "data_prep/negatives/candidates.py",
        "np.concatenate([pairs.positive_bare, pairs.query_bare[query_first]])",
        "np.concatenate([pairs.positive_bare, pairs.query[query_first] * 0])",
        MINING,
    ),
    Mutant(
        "mining: the window begins a rank late",
        "data_prep/negatives/mining.py",
        "np.arange(self.first, min(self.last, there) + 1)",
        "np.arange(self.first + 1, min(self.last, there) + 1)",
        MINING,
    ),
    Mutant(
        "mining: blocks of another model are gone on with",
        "data_prep/negatives/mining.py",
        "if note.is_file() and json.loads(note.read_text()) == made_of:",
        "if note.is_file():",
        MINING,
    ),
    Mutant(
        "mining: each rank makes the blocks of the first",
        "data_prep/negatives/mining.py",
        "number % ranks.count == ranks.rank and",
        "number % ranks.count == 0 and",
        MINING,
    ),
    Mutant(
        "mining: references by place, as if the source had no holes",
        "pipeline/data/references.py",
        "    found = np.searchsorted(source, source_rows)\n",
        "    found, source = source_rows, np.arange(len(source) + 99)\n",
        STAGE,
    ),
    Mutant(
        "mining: what another untrained model mined is found done",
        "jobs/mine.py",
        "        if self.train.begins_trained:\n",
        "        if True:\n",
        STAGE,
    ),
    Mutant(
        "mining: the note of the beginning counts as mined",
        "jobs/mine.py",
        "content=fingerprint(content))",
        "content=fingerprint([content, (out / 'started.json').stat().st_mtime_ns]))",
        STAGE,
    ),
    Mutant(
        "mining: stands behind its phase",
        "jobs/run.py",
        'ORDER.index("train" if name in ("mine", "judge") else name)',
        'ORDER.index("evaluate" if name in ("mine", "judge") else name)',
        STAGE,
    ),
    Mutant(
        "own hard negatives are everybody's",
        "pipeline/losses/contrastive.py",
        '        if self.hard == "own":\n',
        '        if self.hard == "none":\n',
        ("tests/pipeline/losses",),
    ),
    Mutant(
        "owners counted among all pairs, not among those that could be read",
        "pipeline/train/global_batch.py",
        "torch.where(whole, whole.cumsum(dim=0) - 1, NOBODY)",
        "torch.arange(num_pairs)",
        ("tests/pipeline/train/test_global_batch.py",),
    ),
    Mutant(
        "held-out rows are negatives in training",
        "pipeline/train/dataloader/hard_negatives.py",
        "if other not in self.held_out and ",
        "if ",
        LOADER,
    ),
    Mutant(
        "the owners of hard negatives are those of the pair before",
        "pipeline/train/dataloader/plan.py",
        "tuple(pair for pair, own in enumerate(negatives) for _ in own)",
        "tuple(pair - 1 for pair, own in enumerate(negatives) for _ in own)",
        LOADER,
    ),
    Mutant(
        "stored recipes lose the hard negatives of their mixture",
        "pipeline/recipe_json.py",
        '"most": mixture.pop("negatives")',
        '"most": 0 * mixture.pop("negatives")',
        ("tests/pipeline/test_recipe_json.py",),
    ),
    Mutant(
        "judge: the candidate's pictures are counted from one again",
        "data_prep/negatives/judge_words.py",
        "_told(candidate, 1 + len(query.images))",
        "_told(candidate, 1)",
        JUDGING,
    ),
    Mutant(
        "judge: a word that is not told is impossible",
        "data_prep/negatives/judge_words.py",
        "max(yes, least) - max(no, least)",
        "max(yes, -99.0) - max(no, -99.0)",
        JUDGING,
    ),
    Mutant(
        "judge in process: log-probabilities are logits",
        "pipeline/chat_model.py",
        "torch.log_softmax(self.embedder.backbone.logits(states).float(), dim=-1)",
        "self.embedder.backbone.logits(states).float()",
        ("tests/pipeline/test_chat_model.py",),
    ),
    Mutant(
        "judge in process: another model's words are taken for its own",
        "jobs/judge.py",
        "            return self._local.model\n",
        "            return self.model\n",
        JUDGE_STAGE,
    ),
    Mutant(
        "judge: yes makes a negative",
        "data_prep/negatives/judging.py",
        "self.references.filter(pa.array(self.margins < 0))",
        "self.references.filter(pa.array(self.margins > 0))",
        JUDGING,
    ),
    Mutant(
        "judge: an answer without log-probabilities is kept for good",
        "pipeline/chat/caller.py",
        "if request.sampling.top_logprobs and not answer.top_logprobs:",
        "if False:",
        JUDGING,
    ),
    Mutant(
        "judge: a query of the row before",
        "data_prep/negatives/judging.py",
        "        if row != of:\n",
        "        if query is None:\n",
        JUDGING,
    ),
    Mutant(
        "judge: datasets that are exempt are judged",
        "jobs/judge.py",
        "if name in self.negatives.exempt:\n            return",
        "if name in ():\n            return",
        JUDGE_STAGE,
    ),
    Mutant(
        "judge: training reads what was mined",
        "jobs/train.py",
        "judged_folder(work, recipe) if isinstance(negatives, Judged) else",
        "judged_folder(work, recipe) if recipe.phase.negatives is None else",
        JUDGE_STAGE,
    ),
    Mutant(
        "the stand-in judge never errs",
        "data_prep/scene_judge.py",
        "FALSE_SHARE = 0.1",
        "FALSE_SHARE = 0.0",
        SCENE_JUDGE,
    ),
    Mutant(
        "the stand-in judge forgets what was changed",
        "data_prep/scene_judge.py",
        "thing.words.replace(changed[1], changed[2])",
        "thing.words",
        SCENE_JUDGE,
    ),
    Mutant(
        "contact sheet: yes and no change places",
        "eval/negatives_page.py",
        "'right' if margin > 0 else 'wrong'",
        "'wrong' if margin > 0 else 'right'",
        JUDGE_STAGE,
    ),
    Mutant(
        "a third phase is held against what came before the second",
        "jobs/runner.py",
        "if item.made_by and name not in given[own].apart}",
        "if item.made_by}",
        STAGE,
    ),
)
