"""Ways to learn what no teacher should teach, to give up for one refused picture, and to write one journal from two processes."""

from tests.mutants.mutant import Mutant

FILTERS = ("tests/data_prep/test_qa_filters.py",)
REJECTS = ("tests/data_prep/test_synthesize_rejects.py",)
SLICES = ("tests/data_prep/test_synthesize_slices.py",)
PROMPTS = ("tests/data_prep/test_qa_prompts.py",)
SAMPLE = ("tests/data_prep/test_qa_sample.py",)
TABLE = ("tests/pipeline/data/test_qa.py",)
STAGE = ("tests/jobs/test_synthesize.py",)
CHAT_MODEL = ("tests/pipeline/test_chat_model.py",)
LOCAL_ENGINE = ("tests/pipeline/chat/test_local.py",)
LOCAL = ("tests/data_prep/test_synthesize_local.py",)

MUTANTS = (
    Mutant(
        "a model of this process is not told what was said before",
        "pipeline/chat_model.py",
        "[*turns, Turn(question=request.text)]",
        "[Turn(question=request.text)]",
        CHAT_MODEL,
    ),
    Mutant(
        "an answer of this process is whole wherever it ends",
        "pipeline/chat_model.py",
        "is_cut = len(ids) == sampling.max_tokens",
        "is_cut = False",
        CHAT_MODEL,
    ),
    Mutant(
        "a draw depends on the place in the batch",
        "pipeline/chat_model.py",
        "names=[generation.answer_name(0, key) for key, _ in asked],",
        "names=list(range(len(asked))),",
        CHAT_MODEL,
    ),
    Mutant(
        "the room for answers is not counted",
        "pipeline/chat_model.py",
        "(length + max_tokens) > HELD_TOKENS",
        "length > HELD_TOKENS",
        CHAT_MODEL,
    ),
    Mutant(
        "one unreadable picture ends the batch",
        "pipeline/chat_model.py",
        "        except DataError as error:\n",
        "        except NotImplementedError as error:\n",
        CHAT_MODEL,
    ),
    Mutant(
        "an answer of this process is told before it is kept",
        "pipeline/chat/local.py",
        "        self._journal.record(key, outcome)\n",
        "",
        LOCAL_ENGINE,
    ),
    Mutant(
        "all scripts are begun before the first answer",
        "pipeline/chat/local.py",
        "self._scripts.waiting < MOST_WAITING and ",
        "",
        LOCAL_ENGINE,
    ),
    Mutant(
        "a folder and an endpoint may both be named",
        "data_prep/qa_teacher.py",
        "    if urls and local is not None:\n",
        "    if False:\n",
        (*LOCAL, *STAGE),
    ),
    Mutant(
        "models are told apart by the names of their folders",
        "data_prep/qa_teacher.py",
        "{fingerprint(folder_digests(self.folder))[:12]}",
        "",
        (*LOCAL,),
    ),
    Mutant(
        "an answer that is no target is asked for again at the same seed",
        "data_prep/qa_script.py",
        '("seed", str(self.seed)) if self.seed else ()',
        "()",
        PROMPTS,
    ),
    Mutant(
        "what a server withholds is asked for again",
        "data_prep/qa_teacher.py",
        " - {Fault.WITHHELD, Fault.UNKNOWN_END}",
        "",
        PROMPTS,
    ),
    Mutant(
        "a temperature of one's own is no part of a request",
        "data_prep/qa_script.py",
        '(f"temperature {self.temperature}",) if self.temperature else ()',
        "()",
        PROMPTS,
    ),
    Mutant(
        "a misspelt value of a prompt file is passed over",
        "data_prep/qa_prompts.py",
        "if field not in known:",
        "if False:",
        PROMPTS,
    ),
    Mutant(
        "what is answered already counts as left",
        "data_prep/qa_sample.py",
        "teacher.model), most) is None:",
        "teacher.model), most) is not ...:",
        SAMPLE,
    ),
    Mutant(
        "a key that comes again counts again",
        "data_prep/qa_sample.py",
        "            self._kept.add(value)\n",
        "            self._kept.add(value ^ len(self._kept))\n",
        SAMPLE,
    ),
    Mutant(
        "an answer is markup of the sheet",
        "data_prep/qa_sheet.py",
        "<dd>{html.escape(turn.answer)}</dd>",
        "<dd>{turn.answer}</dd>",
        SAMPLE,
    ),
    Mutant(
        "every side counts as asked",
        "pipeline/data/qa.py",
        "int(np.count_nonzero(np.diff(lists.offsets.to_numpy())))",
        "len(lists)",
        TABLE,
    ),
    Mutant(
        "an answer cut short is learnt", "data_prep/qa_filters.py", "        return Fault.CUT\n", "        return None\n", REJECTS
    ),
    Mutant(
        "why an answer ended is not kept",
        "pipeline/chat/journal.py",
        '        "finish_reason": answer.finish_reason,\n',
        "",
        REJECTS,
    ),
    Mutant(
        "rejected answers count as described",
        "data_prep/synthesize_qa.py",
        "    lacking = Counter(counts.reasons)\n",
        '    lacking = Counter({kind: counts.reasons[kind] for kind in ("unanswered", "refused", "void")})\n',
        REJECTS,
    ),
    Mutant(
        "a recipe that asks pairs nothing has questions made",
        "jobs/synthesize.py",
        "for name in kinds_needed(self.context.recipe, kinds)]",
        'for name in kinds_needed(self.context.recipe, kinds) or ("qa",)]',
        STAGE,
    ),
    Mutant(
        "the key is looked at when the first picture is asked about",
        "data_prep/qa_teacher.py",
        "        checked_key(key_from_environment())\n",
        "",
        ("tests/data_prep/test_synthesize_qa.py::test_the_key_comes_from_the_environment_and_reaches_the_server_alone",),
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
        "    if _ends_on_one_piece(plain) or _is_one_phrase(plain):",
        "    if _ends_on_one_piece(plain):",
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
        "a cut answer is never asked again",
        "pipeline/chat/journal.py",
        "answer.is_cut and answer.max_tokens < max_tokens",
        "False",
        REJECTS,
    ),
    Mutant(
        "refused sides in a row are tried again and again",
        "pipeline/chat/caller.py",
        "            except RefusedError as error:\n",
        "            except ZeroDivisionError as error:\n",
        REJECTS,
    ),
    Mutant(
        "a refusal does not show that the endpoint is up",
        "pipeline/chat/caller.py",
        "            self._alive_at = time.monotonic()\n            endpoint.lives()\n",
        "            endpoint.lives()\n",
        REJECTS,
    ),
    Mutant(
        "a wrong key is tried side after side",
        "pipeline/chat/caller.py",
        "(hopeless := self._endpoints.setup_error())",
        "(hopeless := None)",
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
    Mutant(
        "two slices ask the same",
        "data_prep/synthesize_qa.py",
        "identity(model)[:15], 16) % part.of == part.index",
        "identity(model)[:15], 16) % part.of <= part.index",
        SLICES,
    ),
    Mutant(
        "what other slices have answered is not taken in",
        "data_prep/qa_teacher.py",
        'sorted(place.glob("answers*.jsonl"))',
        'sorted(place.glob("nothing*.jsonl"))',
        SLICES,
    ),
    Mutant(
        "a slice at work is taken in",
        "data_prep/synthesize_qa.py",
        "            hold(stack.enter_context(other",
        "            dict(file=stack.enter_context(other",
        SLICES,
    ),
    Mutant(
        "a word that stands in for an answer is learnt",
        "data_prep/qa_filters.py",
        " in RULES.placeholders:",
        " in ():",
        FILTERS,
    ),
    Mutant(
        "an answer in another script is learnt",
        "data_prep/qa_filters.py",
        "ours < RULES.least_own_script * letters",
        "False",
        FILTERS,
    ),
    Mutant(
        "what a picture lacks is a refusal",
        "data_prep/qa_refusals.py",
        'opening=rf"i ?{_CANNOT} (\\w+ )?{_ACT}{_OTHER}|as an?',
        'opening=rf"i ?{_CANNOT} (\\w+ )?{_ACT}|as an?',
        FILTERS,
    ),
)
