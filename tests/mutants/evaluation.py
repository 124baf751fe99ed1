"""Ways to break what a stage takes for its input, and how an evaluation keeps what it measured."""

from tests.mutants.mutant import Mutant

STATE = ("tests/pipeline/test_folder_state.py",)
INPUTS = ("tests/jobs/test_inputs.py",)

MUTANTS = (
    Mutant(
        "a note in the data folder makes stages run again",
        "jobs/runner.py",
        "    return corpus_state(*parts) if parts else every_file_state(given.path), None\n",
        "    return every_file_state(given.path), None\n",
        INPUTS,
    ),
    Mutant(
        "a new picture beside the unpacked ones is not noticed",
        "pipeline/folder_state.py",
        "        if not PICTURE_SUFFIXES.isdisjoint(suffixes):\n",
        "        if False:\n",
        STATE,
    ),
    Mutant(
        "every picture is asked for at every start",
        "pipeline/folder_state.py",
        "for file, suffix in named if suffix in DATA_SUFFIXES]",
        "for file, suffix in named]",
        STATE,
    ),
    Mutant(
        "a changed corpus file converts nothing anew",
        "jobs/convert.py",
        ", (mmeb.TRAIN, *CONVERSATION_FOLDERS)), **own}",
        ", (mmeb.TRAIN, *CONVERSATION_FOLDERS))}",
        INPUTS,
    ),
    Mutant(
        "a touched zip of MMEB-train measures everything again",
        "jobs/evaluate.py",
        "(mmeb_eval.EVAL, vlm.FOLDER)",
        "('MMEB-train', mmeb_eval.EVAL, vlm.FOLDER)",
        INPUTS,
    ),
    Mutant(
        "what is done is said after seconds of imports",
        "pipeline/model/adapters.py",
        "if TYPE_CHECKING:\n    from peft import LoraConfig\n",
        "if True:\n    from peft import LoraConfig\n",
        INPUTS,
    ),
)
