"""Ways to break what stages keep and refuse, what runs lead to, and what is asked of services."""

from tests.mutants.mutant import Mutant

STAGE = ("tests/jobs/test_stage.py",)
FOLDER = ("tests/pipeline/test_stage_folder.py",)
SUBJECT = ("tests/eval/test_subject.py",)
TSV = ("tests/eval/test_tsv.py",)
CHAT = ("tests/pipeline/test_chat.py",)
LOOP = ("tests/pipeline/train/test_loop.py",)
SLURM = ("tests/launchers/test_slurm_script.py",)
SYNTHESIZE = ("tests/data_prep/test_synthesize_qa.py",)

MUTANTS = (
    Mutant(
        "a trial of other settings deletes the folder",
        "pipeline/stage_folder.py",
        "_move(folder, _aside(folder, held) if held else _old(folder))",
        "shutil.rmtree(folder)",
        FOLDER,
    ),
    Mutant(
        "what waits aside is not brought back",
        "jobs/runner.py",
        "                give_place(stage.folder, plan.fingerprint)\n",
        "                pass\n",
        STAGE,
    ),
    Mutant(
        "force makes the old settings' folder again",
        "jobs/runner.py",
        "        retire(stage.folder)\n",
        "        pass\n",
        STAGE,
    ),
    Mutant(
        "questions about other shards are joined by key",
        "jobs/runner.py",
        "made.inputs.get(name, inputs[name]) != inputs[name]",
        "False",
        STAGE,
    ),
    Mutant(
        "linked folders are not looked into",
        "jobs/runner.py",
        "followlinks=True",
        "followlinks=False",
        STAGE,
    ),
    Mutant(
        "a circle of links has no end",
        "jobs/runner.py",
        "if (state.st_dev, state.st_ino) in seen:",
        "if False:",
        STAGE,
    ),
    Mutant(
        "a manifest in the user's folder stands for its content",
        "jobs/runner.py",
        "    if given.made_by:\n",
        "    if given.made_by or (given.path / MANIFEST_NAME).is_file():\n",
        STAGE,
    ),
    Mutant(
        "a run leads to whatever lies in its folder",
        "eval/subject.py",
        'find_made_by(Path(tags["crem.output"]), run_id)',
        'Path(tags["crem.output"])',
        SUBJECT,
    ),
    Mutant(
        "pictures of questions are not decoded beforehand",
        "eval/tsv.py",
        "            opened.load()\n",
        "            pass\n",
        TSV,
    ),
    Mutant(
        "all splits of a question file are scored",
        "eval/tsv.py",
        'return "validation" if "validation" in splits and len(splits) > 1 else None',
        "return None",
        TSV,
    ),
    Mutant(
        "question files are first read after the models",
        "jobs/evaluate.py",
        "        vlm.refuse_unusable(files)\n",
        "",
        ("tests/jobs/test_evaluate.py",),
    ),
    Mutant(
        "sets that MMEB does not count enter its means",
        "eval/mmeb.py",
        "return [name for name in known if name not in NOT_COUNTED] or list(known)",
        "return list(known)",
        ("tests/eval/test_mmeb.py",),
    ),
    Mutant(
        "most sides without an answer are a finished run",
        "data_prep/synthesize_qa.py",
        "if self._unanswered > share * asked:",
        "if False:",
        SYNTHESIZE,
    ),
    Mutant(
        "pictures for this machine go through the proxy",
        "pipeline/chat.py",
        "[urllib.request.ProxyHandler({})] if",
        "[] if",
        CHAT,
    ),
    Mutant(
        "a key with a line break reaches the traceback",
        "pipeline/chat.py",
        "if not (self.api_key.isascii() and self.api_key.isprintable()):",
        "if False:",
        CHAT,
    ),
    Mutant(
        "passwords in the store's errors are shown",
        "pipeline/tracking.py",
        'return _USER_AND_PASSWORD.sub("://***@", uri)',
        "return uri",
        ("tests/pipeline/test_tracking.py",),
    ),
    Mutant(
        "the printed command shows the store's password",
        "jobs/summary.py",
        "shown = redact(context.tracking)",
        "shown = context.tracking",
        ("tests/jobs/test_summary.py",),
    ),
    Mutant(
        "the Slurm script kills the ranks instead of asking them",
        "launchers/slurm_train.sh",
        'putting the job back into the queue"\n  kill -USR1',
        'putting the job back into the queue"\n  kill -TERM',
        SLURM,
    ),
    Mutant(
        "a cancelled job comes back",
        "launchers/slurm_train.sh",
        "  yes*) must_requeue= ;;\n",
        "",
        SLURM,
    ),
    Mutant(
        "a job preempted with a grace time counts as failed",
        "launchers/slurm_train.sh",
        "  *' PreemptTime=2'*) must_requeue=yes ;;\n",
        "",
        SLURM,
    ),
    Mutant(
        "a finished training that waits aside starts its ranks",
        "jobs/runner.py",
        "    return place is not None and plan.finished(place) is not None\n",
        "    return plan.finished(stage.folder) is not None\n",
        STAGE,
    ),
    Mutant(
        "a checkpoint loads with any model folder",
        "pipeline/inference.py",
        "if state.model_digest and state.model_digest != fingerprint(digests):",
        "if False:",
        LOOP,
    ),
    Mutant(
        "a training does not note its model folder",
        "pipeline/train/loop.py",
        "            model_digest=self._model_digest,\n",
        "",
        LOOP,
    ),
)
