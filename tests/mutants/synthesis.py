"""Ways to learn what no teacher should teach, to give up for one refused picture, and to write one journal from two processes."""

from tests.mutants.mutant import Mutant

FILTERS = ("tests/data_prep/test_qa_filters.py",)
REJECTS = ("tests/data_prep/test_synthesize_rejects.py",)
STAGE = ("tests/jobs/test_synthesize.py",)

MUTANTS = (
    Mutant(
        "an answer cut short is learnt", "data_prep/qa_filters.py", "        return Fault.CUT\n", "        return None\n", REJECTS
    ),
    Mutant(
        "why an answer ended is not kept",
        "data_prep/qa_journal.py",
        '            "finish_reason": answer.finish_reason,\n',
        "",
        REJECTS,
    ),
    Mutant(
        "answers of an old journal are learnt unread",
        "data_prep/qa_description.py",
        "    if fault is not None:\n",
        "    if fault is not None and answer.finish_reason:\n",
        REJECTS,
    ),
    Mutant(
        "a sign that says sorry is a refusal",
        "data_prep/qa_filters.py",
        "    return bool(inability.search(rest[: RULES.reach])) or not",
        "    return bool(rest) or not",
        FILTERS,
    ),
    Mutant(
        "words in quotation marks are the model's own",
        "data_prep/qa_filters.py",
        '_DECORATION = r"[\\s*#>_~\\-–—.]*"',
        '_DECORATION = r"[\\s*#>_~\\-–—.\\"“]*"',
        FILTERS,
    ),
    Mutant(
        "an answer that loops in its middle is learnt",
        "data_prep/qa_filters.py",
        " or _is_one_phrase(plain) else None",
        " else None",
        FILTERS,
    ),
    Mutant(
        "three chairs are a loop",
        "data_prep/qa_filters.py",
        "    least_equal_phrases: int = 5\n",
        "    least_equal_phrases: int = 3\n",
        FILTERS,
    ),
    Mutant(
        "rejected answers count as described",
        "data_prep/synthesize_qa.py",
        "        lacking = Counter(self._counts.reasons)\n",
        '        lacking = Counter({kind: self._counts.reasons[kind] for kind in ("unanswered", "refused", "void")})\n',
        REJECTS,
    ),
    Mutant(
        "a cut answer is never asked again",
        "data_prep/qa_teacher.py",
        "answer.max_tokens < self._client.max_tokens",
        "False",
        REJECTS,
    ),
    Mutant(
        "a lower limit asks for cut answers again",
        "data_prep/qa_teacher.py",
        "answer.max_tokens < self._client.max_tokens",
        "answer.max_tokens != self._client.max_tokens",
        REJECTS,
    ),
    Mutant(
        "refused sides in a row look like a dead endpoint",
        "data_prep/qa_teacher.py",
        "            except RefusedError as error:\n",
        "            except ZeroDivisionError as error:\n",
        REJECTS,
    ),
    Mutant(
        "a refusal does not show that the endpoint is up",
        "data_prep/qa_teacher.py",
        "                self._unanswered_in_a_row = 0\n",
        "",
        REJECTS,
    ),
    Mutant(
        "a wrong key is tried side after side",
        "data_prep/qa_teacher.py",
        "isinstance(error, EndpointSetupError) and not self.asked",
        "False",
        REJECTS,
    ),
    Mutant(
        "one forbidden picture ends the run",
        "data_prep/qa_teacher.py",
        "isinstance(error, EndpointSetupError) and not self.asked",
        "isinstance(error, EndpointSetupError)",
        REJECTS,
    ),
    Mutant(
        "two processes write one journal",
        "data_prep/qa_journal.py",
        "        hold(self._file, busy=",
        "        dict(file=self._file, busy=",
        REJECTS,
    ),
    Mutant(
        "a second process goes on where a lock is held",
        "pipeline/lock.py",
        "        raise PipelineError(busy) from error\n",
        "        logger.warning(busy)\n",
        ("tests/jobs/test_stage.py::test_a_second_process_is_kept_out",),
    ),
    Mutant(
        "answers that have come wait for the next that is asked",
        "data_prep/qa_teacher.py",
        "        if any(future.done() for future in self._pending):\n",
        "        if False:\n",
        REJECTS,
    ),
    Mutant(
        "answers beside the last failure are lost",
        "data_prep/qa_teacher.py",
        "future.exception() is not None)",
        "future.exception() is None)",
        REJECTS,
    ),
    Mutant(
        "a changed limit of tokens asks nothing",
        "jobs/synthesize.py",
        '            "answer_tokens": self.answer_tokens or kind.max_tokens,\n',
        "",
        STAGE,
    ),
    Mutant(
        "changed filters leave the stage as it was",
        "jobs/synthesize.py",
        '            "filters": fingerprint(RULES),\n',
        "",
        STAGE,
    ),
)
