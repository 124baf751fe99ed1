"""Ways to break how MMEB-eval is read by other layouts and rules, and how lists are scored."""

from tests.mutants.mutant import Mutant

EVAL = ("tests/pipeline/data/test_mmeb_eval.py",)
RANKING = ("tests/eval/test_ranking.py",)
GOLD = ("tests/eval/test_gold_ranks.py",)
MMEB = ("tests/eval/test_mmeb.py",)

LAZY = "tests/pipeline/data/test_lazy_sides.py"

MUTANTS = (
    Mutant(
        "labels are told to be pictures",
        "pipeline/data/mmeb_eval.py",
        '(joined(instruction, text) if picture else text or "", picture or "")',
        '(joined(instruction, text), picture or "")',
        EVAL,
    ),
    Mutant(
        "an instruction alone is a query",
        "pipeline/data/mmeb_eval.py",
        '(row.values.get("qry_inst") or "") if (text or "").strip() or picture else ""',
        '(row.values.get("qry_inst") or "")',
        EVAL,
    ),
    Mutant(
        "a column's instruction is told by its wording",
        "pipeline/data/mmeb_rows.py",
        "_cut(kept, known) if known and kept.startswith(known) else split_instruction(kept)",
        "split_instruction(kept)",
        EVAL,
    ),
    Mutant(
        "sets below a folder are ignored in silence",
        "pipeline/data/mmeb_rows.py",
        "elif nested := _nested(path, pattern):",
        "elif nested := None:",
        EVAL,
    ),
    Mutant(
        "fewer instructions than candidates go on",
        "pipeline/data/mmeb_eval.py",
        'for name, column in (("tgt_img_path", pictures), ("tgt_inst", instructions)):',
        'for name, column in (("tgt_img_path", pictures),):',
        EVAL,
    ),
    Mutant(
        "passed-over instructions are not counted",
        "pipeline/data/mmeb_eval.py",
        "bool(instruction and text and not picture)",
        "bool(instruction and not text and not picture)",
        EVAL,
    ),
    Mutant(
        "labels are known by their missing picture",
        "pipeline/data/mmeb_eval.py",
        'if picture and self._identity == "picture" else candidate',
        'if self._identity == "picture" else candidate',
        EVAL,
    ),
    Mutant(
        "both rules of identity are the first",
        "eval/retrieval_set.py",
        "identity=self.protocol.identity(self.dataset))",
        'identity="text_and_picture")',
        MMEB,
    ),
    Mutant(
        "sets of pictures for pictures are known by picture",
        "eval/protocols.py",
        'return "picture" if dataset in self.by_picture else "text_and_picture"',
        'return "picture" if self.by_picture else "text_and_picture"',
        MMEB,
    ),
    Mutant(
        "a set as one pool ranks rows",
        "eval/retrieval_set.py",
        '        if self.protocol.pools == "set":\n',
        "        if False:\n",
        MMEB,
    ),
    Mutant(
        "results of other rules overwrite the first",
        "eval/retrieval_set.py",
        "return name if protocol == MMEB_V1.name else name.replace(",
        "return name if protocol else name.replace(",
        MMEB,
    ),
    Mutant(
        "the first of a tie stands first",
        "eval/ranking.py",
        "        left = np.asarray(self.size - slots, dtype=np.float64)",
        "        left = np.asarray((self.size - slots) * (np.asarray(slots) == 0), dtype=np.float64)",
        RANKING,
    ),
    Mutant(
        "gains count alike in both kinds of nDCG",
        "eval/ranking.py",
        "(lambda gain: 2**gain - 1) if exponential",
        "(lambda gain: gain) if exponential",
        RANKING,
    ),
    Mutant(
        "discounts begin one place late",
        "eval/ranking.py",
        "np.log2(np.arange(start, stop) + 2)",
        "np.log2(np.arange(start, stop) + 3)",
        RANKING,
    ),
    Mutant(
        "precision in ties forgets the others",
        "eval/ranking.py",
        "(before + 1 + others)",
        "(before + 1)",
        RANKING,
    ),
    Mutant(
        "recall over the found ones",
        "eval/ranking.py",
        "return sum(found) / max(len(ranking.gains), 1)",
        "return sum(found) / max(sum(bool(share) for share in found), 1)",
        RANKING,
    ),
    Mutant(
        "ranks of a set forget all blocks but the last",
        "eval/gold_ranks.py",
        "np.sum([counts(queries @ candidates[block].T, top) for block in blocks], axis=0)",
        "[counts(queries @ candidates[block].T, top) for block in blocks][-1]",
        GOLD,
    ),
    Mutant(
        "ties by rounding are ranks",
        "eval/gold_ranks.py",
        "(scores >= top - np.float32(TIE_TOLERANCE))",
        "(scores >= top)",
        GOLD,
    ),
    Mutant(
        "a folder of a part passes for MMEB",
        "eval/retrieval_set.py",
        "    if not 0 < len(lacking) < len(META):\n",
        "    if len(lacking):\n",
        MMEB,
    ),
    Mutant(
        "another number type replaces results in silence",
        "eval/measurement.py",
        "if result is not None and result.provenance.model != model]",
        "if result is None]",
        ("tests/eval/test_measurement.py",),
    ),
    Mutant(
        "columns of instructions stand beside texts that have them still",
        "data_prep/toy_mmeb.py",
        '"qry_inst": instruction, "qry_text": words,',
        '"qry_inst": instruction, "qry_text": row["qry_text"],',
        ("tests/data_prep/test_toy_mmeb.py",),
    ),
    Mutant(
        "what is found again is a new run of the tracker",
        "eval/ranks.py",
        "if told is not None and made and chosen.run_id:",
        "if told is not None and chosen.run_id:",
        ("tests/eval/test_measurement.py",),
    ),
    Mutant(
        "a repeated right candidate is no word worth",
        "pipeline/data/mmeb_eval.py",
        "self.counts[REPEATED] += candidates.count(right) - 1",
        "self.counts[REPEATED] += 0",
        EVAL,
    ),
    Mutant(
        "all pictures of a checked set are read when it is opened",
        "pipeline/data/mmeb_eval.py",
        "Pictures(*places, prepare=for_benchmarks()) if verify else None",
        "Pictures(*places, prepare=for_benchmarks())",
        (LAZY,),
    ),
    Mutant(
        "processes read one archive from one place",
        "pipeline/data/lazy_sides.py",
        "if self._opened is None or self._opened[0] != os.getpid():",
        "if self._opened is None:",
        (LAZY,),
    ),
    Mutant(
        "queries stand in another order than their pools",
        "pipeline/data/lazy_sides.py",
        "parts[part][number - ends[part]]",
        "parts[part][ends[part] - 1 - number]",
        (LAZY,),
    ),
    Mutant(
        "what a benchmark's reader counted is not shown",
        "eval/subject.py",
        """logging.getLogger(name).setLevel(logging.INFO)""",
        """logging.getLogger(name).setLevel(logging.WARNING)""",
        ("tests/pipeline/encode/test_encode_ranks.py",),
    ),
)
