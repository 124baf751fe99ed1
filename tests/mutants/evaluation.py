"""Ways to break what a stage takes for its input, and how an evaluation keeps what it measured."""

from tests.mutants.mutant import Mutant

STATE = ("tests/pipeline/test_folder_state.py",)
INPUTS = ("tests/jobs/test_inputs.py",)
STAGE = ("tests/jobs/test_evaluate.py",)
MEASUREMENT = ("tests/eval/test_measurement.py",)

MUTANTS = (
    Mutant(
        "an evaluation's notes are lost in an outage",
        "eval/ranks.py",
        "tags=tags, keep=chosen.unsent)",
        "tags=tags)",
        ("tests/eval/test_measurement.py", "-k", "noted_below"),
    ),
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
        "(mmeb_eval.EVAL, FOLDER)",
        "('MMEB-train', mmeb_eval.EVAL, FOLDER)",
        INPUTS,
    ),
    Mutant(
        "what is done is said after seconds of imports",
        "pipeline/model/adapters.py",
        "if TYPE_CHECKING:\n    from peft import LoraConfig\n",
        "if True:\n    from peft import LoraConfig\n",
        INPUTS,
    ),
    Mutant(
        "a kill in the last set loses every set",
        "eval/measurement.py",
        "        folder.keep(each, result)\n",
        "        pass\n",
        STAGE,
    ),
    Mutant(
        "one unusable set ends the evaluation",
        "eval/measurement.py",
        "        except DataError as error:\n            logger",
        "        except KeyError as error:\n            logger",
        STAGE,
    ),
    Mutant(
        "a full disk costs one set after the other",
        "eval/measurement.py",
        "        except DataError as error:\n            logger",
        "        except (DataError, OSError) as error:\n            logger",
        STAGE,
    ),
    Mutant(
        "a disk that fails under one set ends the evaluation",
        "eval/measurement.py",
        "partial(_read, check)",
        "check",
        STAGE,
    ),
    Mutant(
        "an evaluation that lacks a set is a success",
        "jobs/evaluate.py",
        "        failures.raise_any()\n",
        "",
        STAGE,
    ),
    Mutant(
        "a changed set has the result of the old one",
        "eval/measurement.py",
        "return known if self._states().get(wanted.name) == wanted.state else None",
        "return known",
        STAGE,
    ),
    Mutant(
        "a new time on a file measures its set again",
        "eval/results.py",
        "return self.data == other.data and self.is_of(other.model, other.settings)",
        "return False",
        STAGE,
    ),
    Mutant(
        "the results of another model are found again",
        "eval/results.py",
        "return self.model == model and dict(self.settings) == dict(settings)",
        "return dict(self.settings) == dict(settings)",
        MEASUREMENT,
    ),
    Mutant(
        "what was measured on other questions stays on the page",
        "jobs/evaluated.py",
        "                self.results.set_aside(each.name)\n",
        "                pass\n",
        STAGE,
    ),
    Mutant(
        "each checkpoint takes the place of the last one's results",
        "jobs/evaluated.py",
        "    give_place(place, owner)\n",
        "",
        STAGE,
    ),
    Mutant(
        "force finds the old results again",
        "jobs/evaluate.py",
        "                each.results.set_aside(item.name)\n",
        "                pass\n",
        STAGE,
    ),
    Mutant(
        "force on one kind gives the others up",
        "jobs/runner.py",
        "    if context.force and stage.writing is not Writing.PIECES:\n",
        "    if context.force:\n",
        STAGE,
    ),
    Mutant(
        "a mean over a part of the sets passes for the whole",
        "eval/mmeb.py",
        'return f"{count} of {there} sets" if count < there else',
        'return f"{count} sets" if count < there else',
        ("tests/jobs/test_summary.py",),
    ),
    Mutant(
        "a mean over other sets stands beside the trained model's",
        "eval/mmeb.py",
        "return _content(self.members(group)) == _content(other.members(group))",
        "return group in self.groups",
        ("tests/eval/test_compare.py",),
    ),
    Mutant(
        "two evaluations mix their answers in one file",
        "eval/predictions.py",
        "            hold(self._file, busy=f",
        "            str(f",
        ("tests/eval/test_predictions.py",),
    ),
    Mutant(
        "evaluation asks for MMEB-train",
        "launchers/stages.py",
        'needs=options.needed(given) if name == "convert" else ()',
        "needs=options.needed(given)",
        ("tests/launchers/test_cli.py::test_mistakes_are_one_line_and_leave_nothing",),
    ),
    Mutant(
        "what is not chosen is measured all the same",
        "jobs/evaluate.py",
        "        return _KIND_OF[type(each)] in self.kinds\n",
        "        return True\n",
        ("tests/jobs/test_evaluate.py::test_what_one_choice_measured_is_kept_for_the_next",),
    ),
)
