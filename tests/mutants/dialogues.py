"""Ways to learn dialogues that no picture has: out of order, unfiltered, numbered, asked twice, or about something else."""

from tests.mutants.mutant import Mutant

LISTS = ("tests/data_prep/test_question_list.py",)
SCRIPT = ("tests/data_prep/test_qa_dialogue.py",)
SYNTHESIS = ("tests/data_prep/test_synthesize_dialogue.py",)
TOY = ("tests/data_prep/test_toy_dialogues.py",)
TABLE = ("tests/pipeline/data/test_qa.py",)
STAGE = ("tests/jobs/test_synthesize.py",)
CAPTIONS = ("tests/data_prep/test_qa_caption.py",)

MUTANTS = (
    Mutant("numbers of questions are learnt", "data_prep/question_list.py", '_NUMBER.sub("", bare.', "(bare.", LISTS),
    Mutant(
        "a preamble is a question",
        "data_prep/question_list.py",
        "if any(end in question for end in _ENDS) and any",
        "if any",
        LISTS,
    ),
    Mutant("questions on one line are one", "data_prep/question_list.py", "in _NEXT_ON_LINE.split(line)", "in (line,)", LISTS),
    Mutant(
        "a number that belongs to a question is taken off",
        "data_prep/question_list.py",
        "[.)\\]:：、](?!\\d) ",
        "[.)\\]:：、] ",
        LISTS,
    ),
    Mutant(
        "each question is asked alone",
        "data_prep/qa_dialogue.py",
        "question, tuple(turns), form)",
        "question, (), form)",
        (*SCRIPT, *SYNTHESIS),
    ),
    Mutant(
        "repeated questions are asked",
        "data_prep/qa_dialogue.py",
        "first.setdefault(comparable(question)",
        "first.setdefault(question",
        SCRIPT,
    ),
    Mutant(
        "any number of questions is asked",
        "data_prep/qa_dialogue.py",
        "different[: form.most], left_out",
        "different, left_out",
        SCRIPT,
    ),
    Mutant("two turns are a dialogue", "data_prep/qa_dialogue.py", "    least: int = 3\n", "    least: int = 2\n", SCRIPT),
    Mutant(
        "answers of a dialogue are learnt unread",
        "data_prep/qa_dialogue.py",
        "        fault = request.fault_of(answer)\n",
        "        fault = None\n",
        SCRIPT,
    ),
    Mutant(
        "a list that was cut is gone on with",
        "data_prep/qa_dialogue.py",
        "    fault = request.fault_of(listed)\n",
        "    fault = None\n",
        SCRIPT,
    ),
    Mutant(
        "a dialogue that is lost is asked to its end",
        "data_prep/qa_dialogue.py",
        "        if len(turns) + len(questions) - place < form.least:\n",
        "        if False:\n",
        SCRIPT,
    ),
    Mutant(
        "sides that share a picture have a dialogue each",
        "data_prep/qa_dialogue.py",
        "    about = Side(images=side.images)\n",
        "    about = side\n",
        SYNTHESIS,
    ),
    Mutant(
        "what was said before is no part of a request",
        "data_prep/qa_dialogue.py",
        "_asked(form, *said, question)",
        "_asked(form, question)",
        SCRIPT,
    ),
    Mutant(
        "negatives have no dialogues",
        "data_prep/qa_kinds.py",
        "negatives=True,\n        temperature=form",
        "negatives=False,\n        temperature=form",
        SYNTHESIS,
    ),
    Mutant(
        "a caption depends on what its side says",
        "data_prep/qa_caption.py",
        "about=Side(images=side.images)",
        "about=side",
        CAPTIONS,
    ),
    Mutant(
        "captions are learnt unread",
        "data_prep/qa_caption.py",
        "    fault = request.fault_of(answer)\n",
        "    fault = None\n",
        CAPTIONS,
    ),
    Mutant(
        "negatives have no captions",
        "data_prep/qa_kinds.py",
        "        negatives=True,\n        temperature=wording",
        "        negatives=False,\n        temperature=wording",
        CAPTIONS,
    ),
    Mutant(
        "captions lose the turns of negatives",
        "pipeline/data/qa.py",
        '_SCHEMA if kind == "qa" else',
        '_SCHEMA if kind != "dialogue" else',
        CAPTIONS,
    ),
    Mutant(
        "dialogues are asked without sampling",
        "data_prep/qa_teacher.py",
        "or kind.max_tokens, temperature=kind.temperature)",
        "or kind.max_tokens)",
        SYNTHESIS,
    ),
    Mutant(
        "dialogues overwrite the questions of kind qa",
        "pipeline/data/qa.py",
        '    return folder if kind == "qa" else folder / kind\n',
        "    return folder\n",
        TABLE,
    ),
    Mutant(
        "a negative has the turns of another",
        "pipeline/data/qa.py",
        "    return told[number] if number < len(told) else []\n",
        "    return told[-1] if number < len(told) else []\n",
        TABLE,
    ),
    Mutant(
        "training does not depend on the dialogues",
        "jobs/synthesize.py",
        'content["qa"] if set(content) == {"qa"} else fingerprint(content)',
        "QaTable.open(out).fingerprint",
        STAGE,
    ),
    Mutant(
        "a phase of dialogues learns single questions",
        "pipeline/train/loop.py",
        'QaTable.open(self.paths.qa, self.phase.needs or "qa")',
        'QaTable.open(self.paths.qa, "qa")',
        ("tests/pipeline/train/test_loop.py::test_a_phase_reads_the_kind_of_turns_that_its_target_needs",),
    ),
    Mutant(
        "a page of dialogues shows single questions",
        "jobs/show.py",
        'QaTable.open(context.qa, phase.needs or "qa")',
        'QaTable.open(context.qa, "qa")',
        ("tests/jobs/test_show.py",),
    ),
    Mutant(
        "a recipe's dialogues are not made",
        "jobs/synthesize.py",
        "    return tuple(kind for kind in names if kind in needed)\n",
        '    return ("qa",) if needed else ()\n',
        STAGE,
    ),
    Mutant(
        "a toy answer is about another picture",
        "data_prep/scene_server.py",
        "random.Random(digests[0]))\n",
        "random.Random(words))\n",
        TOY,
    ),
    Mutant(
        "toy answers are one word",
        "data_prep/scene_questions.py",
        "    return tuple(replace(question, answer=question.sentence) for question in max(",
        "    return tuple(question for question in max(",
        TOY,
    ),
    Mutant(
        "toy questions are any that were drawn",
        "data_prep/scene_questions.py",
        "in max(drawn, key=partial(_num_named, scene)))",
        "in min(drawn, key=partial(_num_named, scene)))",
        TOY,
    ),
)
