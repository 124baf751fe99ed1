"""Ways to break what stages keep and refuse, what runs lead to, and what is asked of services."""

from tests.mutants.mutant import Mutant

STAGE = ("tests/jobs/test_stage.py",)
FOLDER = ("tests/pipeline/test_stage_folder.py",)
SUBJECT = ("tests/eval/test_subject.py",)
TSV = ("tests/eval/test_tsv.py",)
LOOP = ("tests/pipeline/train/test_loop.py",)
SLURM = ("tests/launchers/test_slurm_script.py",)
SYNTHESIZE = ("tests/data_prep/test_synthesize_qa.py",)

MUTANTS = (
    Mutant(
        "a mistyped data folder costs what was converted",
        "data_prep/convert.py",
        "    if others:\n",
        "    if False:\n",
        ("tests/data_prep/test_convert_resume.py::test_shards_of_a_dataset_that_left_the_data_folder_stay",),
    ),
    Mutant(
        "what describes a shard goes before its pictures are found",
        "pipeline/data/shard_writer.py",
        "    folder.mkdir(parents=True, exist_ok=True)\n    with (\n        atomic_file",
        "    folder.mkdir(parents=True, exist_ok=True)\n    part.unlink(missing_ok=True)\n    with (\n        atomic_file",
        ("tests/data_prep/test_convert_resume.py::test_a_lost_archive_costs_no_shard",),
    ),
    Mutant(
        "a dataset that lost its rows is not named",
        "data_prep/convert.py",
        "_REJECTS_TOLD = 0.01",
        "_REJECTS_TOLD = 1.01",
        ("tests/data_prep/test_convert_resume.py::test_a_dataset_that_lost_many_rows_is_named",),
    ),
    Mutant(
        "half a download is left out of the mean",
        "pipeline/data/mmeb_rows.py",
        'elif lone := next(visible(path, "*parquet*"), None):',
        'elif lone := next(visible(path, "*no such*"), None):',
        ("tests/pipeline/data/test_mmeb.py",),
    ),
    Mutant(
        "a split of one's own words makes a mean of its own",
        "pipeline/data/mmeb_eval.py",
        " or info.split not in get_args(Split)",
        "",
        ("tests/pipeline/data/test_mmeb_eval.py",),
    ),
    Mutant(
        "a file system without locks runs nothing",
        "pipeline/lock.py",
        "    except OSError as error:  # Lustre",
        "    except ChildProcessError as error:  # Lustre",
        STAGE,
    ),
    Mutant(
        "names that are no UTF-8 have no digest",
        "pipeline/manifest.py",
        '.encode("utf-8", "surrogatepass")',
        ".encode()",
        ("tests/pipeline/test_manifest.py",),
    ),
    Mutant(
        "a recipe file may end the command as a success",
        "pipeline/recipes/source.py",
        "except (Exception, SystemExit) as error:",
        "except Exception as error:",
        ("tests/pipeline/recipes/test_source.py",),
    ),
    Mutant(
        "a folder that cannot be is met after the evaluation",
        "eval/vlm.py",
        "        wanted.out.mkdir(parents=True, exist_ok=True)  # before the hours of work\n",
        "",
        SUBJECT,
    ),
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
        "pipeline/folder_state.py",
        "followlinks=True",
        "followlinks=False",
        ("tests/pipeline/test_folder_state.py",),
    ),
    Mutant(
        "a circle of links has no end",
        "pipeline/folder_state.py",
        "if (state.st_dev, state.st_ino) in seen:",
        "if False:",
        ("tests/pipeline/test_folder_state.py",),
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
        "if found := find_made_by(place, known):",
        "if found := place:",
        SUBJECT,
    ),
    Mutant(
        "sets and question files are first read after the models",
        "jobs/evaluate.py",
        '        failures.check(left, self.watched("data"))\n',
        "",
        ("tests/jobs/test_evaluate.py",),
    ),
    Mutant(
        "sets that MMEB does not count enter its means",
        "eval/retrieval_set.py",
        "return [name for name in known if name not in NOT_COUNTED] or list(known)",
        "return list(known)",
        ("tests/eval/test_mmeb.py",),
    ),
    Mutant(
        "most sides without an answer are a finished run",
        "data_prep/synthesize_qa.py",
        "if lacking.total() > share * asked:",
        "if False:",
        SYNTHESIZE,
    ),
    Mutant(
        "passwords in the store's errors are shown",
        "pipeline/tracking/address.py",
        '_USER_AND_PASSWORD.sub("://***@", text)',
        "text",
        ("tests/pipeline/tracking/test_runs.py",),
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
        "pipeline/train/checkpoint_writer.py",
        '        state = replace(state, model_digest=self.model_digest.result() if self.model_digest else "")\n',
        "",
        LOOP,
    ),
)
