"""Ways to break what a corpus is made of: mixtures, conversations, and the paper's printed rows."""

from tests.mutants.mutant import Mutant

MIXTURE = ("tests/pipeline/train/dataloader/test_mixture.py",)
TALKS = ("tests/pipeline/data/test_sharegpt4v.py",)
RELEASE = ("tests/pipeline/data/test_sharegpt4v_release.py",)
CHECK = ("tests/data_prep/test_check_inputs.py",)
SHARDS = ("tests/pipeline/data/test_shards.py::test_a_plain_reader_finds_a_shared_picture_in_each_row",)
PRINTED = ("tests/pipeline/recipes/test_printed.py",)

MUTANTS = (
    Mutant(
        "a row of text may name its picture by any key",
        "pipeline/data/sharegpt4v.py",
        "        _refuse_unknown(fields)\n",
        "",
        ("tests/pipeline/data/test_sharegpt4v.py",),
    ),
    Mutant(
        "the paper's headline is rounded up",
        "pipeline/recipes/printed.py",
        '"crem_7b", (68.3, 69.4, 72.9, 86.1, 75.6, 67.8, 72.1)',
        '"crem_7b", (68.3, 69.4, 72.9, 86.1, 75.6, 67.8, 72.5)',
        PRINTED,
    ),
    Mutant(
        "conversations of every set are drawn",
        "pipeline/train/dataloader/corpus.py",
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
        "pipeline/train/dataloader/corpus.py",
        '    if mixture.outside:\n        _refuse_absent(f"{phase_path}.mixture.outside_sets"',
        '    if mixture.outside and False:\n        _refuse_absent("outside_sets"',
        MIXTURE,
    ),
    Mutant(
        "a weight of a set that is not read passes",
        "pipeline/train/dataloader/corpus.py",
        "if name in talks and not mixture.reads(name)]",
        "if name in talks and not mixture.reads(name) and False]",
        MIXTURE,
    ),
    Mutant(
        "missing sets of MMEB-train are not said",
        "pipeline/train/run_header.py",
        "        yield _mmeb(sizes)\n",
        "",
        MIXTURE,
    ),
    Mutant(
        "the opening keeps what it draws from to itself",
        "pipeline/train/loop.py",
        "[*drawn, said,",
        "[said,",
        ("tests/pipeline/train/test_loop.py",),
    ),
    Mutant(
        "the last of two weights wins",
        "pipeline/phase.py",
        '        check_once("mixture.weights", [name for name, _ in self.weights])\n',
        "",
        ("tests/pipeline/test_recipe.py",),
    ),
    Mutant(
        "a picture under another key is passed over",
        "pipeline/data/sharegpt4v.py",
        "    if unread:\n",
        "    if unread and False:\n",
        TALKS,
    ),
    Mutant(
        "answers about a picture that is not there are taught",
        "pipeline/data/sharegpt4v.py",
        '        _refuse_blind(turns, strict=fields.get("image") is not None)\n',
        "",
        TALKS,
    ),
    Mutant(
        "a word about tags makes a row of text a reject",
        "pipeline/data/sharegpt4v.py",
        'strict=fields.get("image") is not None',
        "strict=True",
        TALKS,
    ),
    Mutant(
        "only the first question is looked at for a missing picture",
        "pipeline/data/sharegpt4v.py",
        "    for turn in turns:\n        found",
        "    for turn in turns[:1]:\n        found",
        TALKS,
    ),
    Mutant(
        "the first of several pictures is taken",
        "pipeline/data/sharegpt4v.py",
        "        if len(path) > 1:",
        "        if len(path) > 9:",
        TALKS,
    ),
    Mutant(
        "rows of one reason are counted with those of another key",
        "pipeline/data/sharegpt4v_survey.py",
        "reason = plain_reason(str(error))",
        "reason = plain_reason(str(error))[:7]",
        RELEASE,
    ),
    Mutant(
        "conversations alone are refused",
        "launchers/options.py",
        "any((data / name).is_dir() for name in needs)",
        "(data / needs[0]).is_dir()",
        ("tests/launchers/test_data.py::test_conversations_alone_are_converted",),
    ),
    Mutant(
        "a shared picture stands once in a shard",
        "pipeline/data/shard_writer.py",
        "places = [self._tar.add(sample.key, file.suffix, file.content) for file in files]",
        "places = [self._tar.add(sample.key, m.suffix, m.content * (vars(self).setdefault(m.content, m) is m)) for m in files]",
        SHARDS,
    ),
    Mutant(
        "shared pictures count as different ones",
        "pipeline/data/picture_count.py",
        "different=len(self._paths)",
        "different=self.named",
        CHECK,
    ),
    Mutant(
        "an absent set of conversations is no problem",
        "data_prep/check_inputs.py",
        "is_problem=is_asked)",
        "is_problem=False)",
        CHECK,
    ),
    Mutant(
        "rejected conversations are no problem",
        "data_prep/check_inputs.py",
        '{reason.row}: {reason.reason}", is_problem=True',
        '{reason.row}: {reason.reason}", is_problem=False',
        CHECK,
    ),
    Mutant(
        "an object around the list is one row",
        "pipeline/data/json_array.py",
        'if not self._peek() and self._path.suffix != ".jsonl":',
        "if False:",
        ("tests/pipeline/data/test_json_array.py",),
    ),
    Mutant(
        "zero-shot recall is not listed",
        "pipeline/recipes/printed.py",
        "DATA, CAPTIONS, WEIGHTS",
        "DATA, WEIGHTS",
        PRINTED,
    ),
)
