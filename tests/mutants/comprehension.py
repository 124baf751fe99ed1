"""Ways to break the benchmarks of questions about pictures."""

from tests.mutants.mutant import Mutant

TSV = ("tests/eval/test_tsv.py",)
VLM = ("tests/eval/test_vlm.py",)
SCORES = ("tests/eval/test_question_scores.py",)
ROTATIONS = ("tests/eval/benchmarks/test_rotations.py",)
HALLUSION = ("tests/eval/benchmarks/test_hallusion.py",)
KNOWN = ("tests/eval/benchmarks/test_known_files.py",)
MMMU = ("tests/eval/benchmarks/test_mmmu.py",)
MMVET = ("tests/eval/benchmarks/test_mmvet.py",)
ASKED_AS = ("tests/pipeline/test_asked_as.py",)
PREDICTIONS = ("tests/eval/test_predictions.py",)

MUTANTS = (
    Mutant(
        "columns of a question file that nobody reads are passed over",
        "eval/questions.py",
        "if name not in known and any(",
        "if False and any(",
        TSV,
    ),
    Mutant("a row of too many fields is asked", "eval/question_files.py", "    if row[SURPLUS]:\n", "    if False:\n", TSV),
    Mutant("a row of too few fields is asked", "eval/question_files.py", "    if row[LACKING]:\n", "    if False:\n", TSV),
    Mutant("a file that ends inside of a row is whole", "eval/tsv.py", "    if rows[-1][LACKING]:\n", "    if False:\n", TSV),
    Mutant(
        "two stray quotes swallow the rows between them",
        "eval/tsv.py",
        'line.count("\\t") >= max(1, len(columns) - 1)',
        'line.count("\\t") >= 99',
        TSV,
    ),
    Mutant("a whole book is asked", "eval/questions.py", "MAX_WORDS_CHARACTERS = 24_000", "MAX_WORDS_CHARACTERS = 2**20", TSV),
    Mutant(
        "pictures of questions are not decoded beforehand",
        "eval/question_pictures.py",
        "for_benchmarks()",
        "for_benchmarks(verify=False)",
        TSV,
    ),
    Mutant(
        "a letter without options is free words",
        "eval/question_files.py",
        "is_label(row.answer) and not benchmark.name",
        "False",
        TSV,
    ),
    Mutant(
        "a cut benchmark is scored", "eval/question_files.py", "    if changed and not allow_changed:\n", "    if False:\n", KNOWN
    ),
    Mutant(
        "the md5 of a benchmark is not looked at",
        "eval/benchmarks/known_files.py",
        "known.md5 == table.md5",
        "known.rows == len(table.rows)",
        KNOWN,
    ),
    Mutant("files in capitals are not seen", "eval/question_files.py", "path.suffix.lower() ==", "path.suffix ==", KNOWN),
    Mutant("hidden question files are asked", "eval/question_files.py", 'and not path.name.startswith(".")', "", KNOWN),
    Mutant(
        "a question that lost a rotation is easier",
        "eval/benchmarks/rotations.py",
        "    lost = {row.group for row in table.skipped}\n    groups",
        "    lost = set[str]()\n    groups",
        ROTATIONS,
    ),
    Mutant(
        "one odd index hides the circular figure",
        "eval/benchmarks/rotations.py",
        "    if odd := [index for index in indices if index not in numbers]:\n",
        "    if (odd := [index for index in indices if index not in numbers]) and not odd:\n",
        ROTATIONS,
    ),
    Mutant(
        "an index 1.0 stays a real number",
        "eval/tsv.py",
        '_REAL_INDEX = re.compile(r"(\\d+)\\.0")',
        '_REAL_INDEX = re.compile(r"(x)")',
        ROTATIONS,
    ),
    Mutant(
        "a question counts without its unrotated row",
        "eval/benchmarks/rotations.py",
        "    if base is None:\n        return None\n",
        "    if base is None:\n        base = members[0]\n",
        ROTATIONS,
    ),
    Mutant(
        "HallusionBench's kinds by their first word",
        "eval/benchmarks/hallusion.py",
        "    kind = each.row.l2_category\n",
        "    kind = each.row.index[:2]\n",
        HALLUSION,
    ),
    Mutant(
        "figures without a sub-category are merged",
        "eval/benchmarks/hallusion.py",
        '            if not row.get("l2-category", "").strip():\n',
        "            if False:\n",
        HALLUSION,
    ),
    Mutant(
        "a pair of questions is a figure",
        "eval/benchmarks/hallusion.py",
        "right = [sum(each.is_hit for each in verdicts), sum(figures.values()), sum(pairs.values())]",
        "right = [sum(each.is_hit for each in verdicts), sum(pairs.values()), sum(figures.values())]",
        HALLUSION,
    ),
    Mutant(
        "the headline of HallusionBench is aAcc",
        "eval/benchmarks/hallusion.py",
        '    value = _figures(verdicts)["mean"]\n',
        '    value = _figures(verdicts)["aAcc"]\n',
        HALLUSION,
    ),
    Mutant(
        "rotations give each other away",
        "eval/question_scores.py",
        "{row.group or row.index: row for",
        "{row.index: row for",
        SCORES,
    ),
    Mutant(
        "majority over rows with options alone",
        "eval/question_scores.py",
        "share * float(np.mean(by_text))",
        "float(np.mean(by_text))",
        SCORES,
    ),
    Mutant(
        "the control of compressed answers is native",
        "eval/question_asking.py",
        'compressed=mode != "native"',
        'compressed=mode == "compressed"',
        VLM,
    ),
    Mutant(
        "answers of another length are kept",
        "eval/vlm.py",
        "self.asking.way, length])",
        "self.asking.way])",
        VLM,
    ),
    Mutant(
        "answers of all fingerprints share a file",
        "eval/predictions.py",
        "{name}.{fingerprint[:_NAME_CHARACTERS]}.jsonl",
        "{name}.jsonl",
        PREDICTIONS,
    ),
    Mutant(
        "answers of another fingerprint are taken",
        "eval/predictions.py",
        'if header.get("fingerprint") != fingerprint:',
        "if False:",
        PREDICTIONS,
    ),
    Mutant(
        "a yes/no row of MM-Vet is scored by itself",
        "eval/benchmarks/mmvet.py",
        "        return True\n",
        '        return row.get("answer", "").lower() not in ("yes", "no")\n',
        MMVET,
    ),
    Mutant(
        "MM-Vet is scored over what was judged",
        "eval/benchmarks/mmvet.py",
        "        if len(counted) < len(verdicts):\n",
        "        if not counted:\n",
        MMVET,
    ),
    Mutant(
        "open questions of MMMU are left out",
        "eval/benchmarks/mmmu.py",
        "        return not has_options(row)\n",
        "        return False\n",
        MMMU,
    ),
    Mutant(
        "dev rows enter the figure of MMMU",
        "eval/benchmarks/mmmu.py",
        "        return validation or list(verdicts)\n",
        "        return list(verdicts)\n",
        MMMU,
    ),
    Mutant(
        "a number in a number is right",
        "eval/benchmarks/mmmu.py",
        "names_answer(prediction, right_answers(row.answer))",
        "row.answer in prediction",
        MMMU,
    ),
    Mutant(
        "without parity open questions are a choice of two",
        "eval/benchmarks/mmmu.py",
        "        if rules.parity:\n",
        "        if True:\n",
        MMMU,
    ),
    Mutant(
        "an option None is lost for everyone",
        "eval/question_files.py",
        "    if parity:\n        columns",
        "    if True:\n        columns",
        ("tests/eval/test_pandas_texts.py",),
    ),
    Mutant(
        "numbers beside a gap stay whole",
        "eval/pandas_texts.py",
        "int if is_whole else float",
        "int",
        ("tests/eval/test_pandas_texts.py",),
    ),
    Mutant(
        "an empty answer stays empty for parity",
        "eval/verdicts.py",
        'return "nan" if prediction in MISSING_WORDS else prediction',
        "return prediction",
        ("tests/eval/test_pandas_texts.py",),
    ),
    Mutant(
        "MLflow shows the accuracy over rows",
        "jobs/evaluated.py",
        '{result.name}": result.headline.score.value}',
        '{result.name}": result.accuracy.score.value if result.accuracy else 0.0}',
        ("tests/jobs/test_evaluate.py::test_a_benchmark_s_own_figure_is_noted",),
    ),
    Mutant(
        "a file put beside the toy world's is never seen",
        "jobs/evaluate.py",
        '        if data == "data" and found_files(self.context.data):',
        "        if False:",
        ("tests/jobs/test_evaluate.py::test_one_more_file_of_questions_is_measured_alone",),
    ),
    Mutant(
        "white space at the end of a prompt is stripped",
        "pipeline/sequence.py",
        "question if self.keeps_space else question.strip()",
        "question.strip()",
        ASKED_AS,
    ),
    Mutant(
        "limits of pixels reach no model",
        "pipeline/asked_as.py",
        "how.min_tokens or pixels.min_tokens",
        "pixels.min_tokens",
        ASKED_AS,
    ),
    Mutant(
        "the system line stays the recipe's",
        "pipeline/asked_as.py",
        "layout = replace(layout, system=OWN_SYSTEM_LINE)",
        "pass",
        ASKED_AS,
    ),
    Mutant(
        "the style default strips its end",
        "eval/vlm_settings.py",
        'keeps_space=self.prompt_style == "default"',
        "keeps_space=False",
        VLM,
    ),
    Mutant("VLMEvalKit's preset keeps our length", "eval/vlm_settings.py", "max_new_tokens=2048, ", "", VLM),
    Mutant(
        "transparent pictures stay so",
        "eval/question_pictures.py",
        'picture if self._alpha == "white" else without_alpha(picture)',
        "picture",
        VLM,
    ),
    Mutant(
        "what answers were given under is not kept",
        "eval/predictions.py",
        "            self.conditions = dict(conditions)\n",
        "            pass\n",
        PREDICTIONS,
    ),
)
