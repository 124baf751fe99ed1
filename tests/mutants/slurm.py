"""The chain as Slurm jobs: scripts, submission, and what is said of the jobs."""

from tests.mutants.mutant import Mutant

CHAIN = ("tests/launchers/slurm/test_chain.py",)
JOB = ("tests/launchers/slurm/test_job.py",)
QUEUE = ("tests/launchers/slurm/test_queue.py",)
SITE = ("tests/launchers/slurm/test_site.py",)

MUTANTS = (
    Mutant(
        "the judge of negatives reads answers too",
        "launchers/teacher_options.py",
        '"--judge",\n        "negatives_judge",',
        '"--judge",\n        "judge",',
        ("tests/launchers/slurm/test_chain.py", "-k", "judge_of_negatives"),
    ),
    Mutant(
        "help waits for torch",
        "launchers/run.py",
        "from launchers.stages import runner, tell\n",
        "from launchers.slurm.run import run_on_slurm\nfrom launchers.stages import runner, tell\n",
        ("tests/launchers/test_cli.py::test_help_waits_for_no_heavy_library",),
    ),
    Mutant(
        "slurm: jobs do not wait for one another",
        "launchers/slurm/submitted.py",
        'after=done[-1].number if done else ""',
        'after=""',
        CHAIN,
    ),
    Mutant(
        "slurm: a refused submission leaves jobs behind",
        "launchers/slurm/submitted.py",
        "queue.cancel([job.number for job in done])",
        "pass",
        CHAIN,
    ),
    Mutant(
        "slurm: a second submission beside the first",
        "launchers/slurm/submitted.py",
        "if not queue.look_up(job.number).is_over]",
        "if job is None]",
        CHAIN,
    ),
    Mutant(
        "slurm: what is done is submitted again",
        "launchers/slurm/run.py",
        "return not context.force and is_done(stage)",
        "return False",
        CHAIN,
    ),
    Mutant(
        "slurm: what is done further on is left out",
        "launchers/slurm/run.py",
        "itertools.dropwhile(found_done",
        "itertools.filterfalse(lambda stage: stage.name == 'train'",
        CHAIN,
    ),
    Mutant(
        "slurm: options that are set by default are spelled",
        "launchers/slurm/chain.py",
        "context.get_parameter_source(name) is not ParameterSource.COMMANDLINE",
        "name not in context.params",
        CHAIN,
    ),
    Mutant(
        "slurm: relative paths",
        "launchers/slurm/chain.py",
        "str(one.absolute() if isinstance(one, Path) else one)",
        "str(one)",
        CHAIN,
    ),
    Mutant(
        "slurm: words of a script unquoted",
        "launchers/slurm/job.py",
        'else " ") + shlex.quote(word) for word in words)',
        'else " ") + word for word in words)',
        JOB,
    ),
    Mutant(
        "slurm: one rank a node",
        "launchers/slurm/job.py",
        "ranks = max(self.gpus, 1) if self.is_training else 1",
        "ranks = 1",
        JOB + CHAIN,
    ),
    Mutant(
        "slurm: training is not told that its time is up",
        "launchers/slurm/job.py",
        'options += ["--signal=B:USR1@120"] if self.is_training else []',
        "",
        JOB,
    ),
    Mutant(
        "slurm: a failed slice is hidden by one that runs",
        "launchers/slurm/queue.py",
        "for chosen in (_has_failed, lambda task: task.state in RUNNING,",
        "for chosen in (lambda task: task.state in RUNNING, _has_failed,",
        QUEUE,
    ),
    Mutant(
        "slurm: a job that was put back counts as over",
        "launchers/slurm/queue.py",
        'WAITING = ("PENDING", "REQUEUED",',
        'WAITING = ("PENDING",',
        QUEUE,
    ),
    Mutant(
        "slurm: a failed job whose folder has begun is unfinished",
        "launchers/status.py",
        '    return "failed"\n',
        '    return state or "failed" if job.state != "FAILED" else "unfinished"\n',
        CHAIN,
    ),
    Mutant(
        "slurm: a site's setting brings lines of its own",
        "launchers/slurm/site.py",
        'if any("\\n" in text for text in',
        'if any("\\r\\n" in text for text in',
        SITE,
    ),
    Mutant(
        "status: half the rate",
        "jobs/status.py",
        "return len(seconds) / sum(seconds) if seconds else 0.0",
        "return len(lines) / sum(seconds) / 2 if seconds else 0.0",
        CHAIN,
    ),
    Mutant(
        "status: the rank that was slow first is the slowest",
        "jobs/status.py",
        'Counter(int(line["slowest_rank"]) for line in named)',
        'Counter(int(line["slowest_rank"]) for line in named[:1])',
        CHAIN,
    ),
    Mutant(
        "slurm: nodes of IPv6 alone have no address",
        "launchers/slurm_train.sh",
        'getent ahostsv4 "$1"; getent ahosts "$1";',
        'getent ahostsv4 "$1";',
        ("tests/launchers/test_slurm_script.py::test_ranks_meet_at_an_address_of_the_first_node",),
    ),
    Mutant(
        "slurm: ranks meet at a port that another job has",
        "launchers/slurm_train.sh",
        "  MASTER_PORT=$((MASTER_PORT + 1))\n",
        "",
        ("tests/launchers/test_slurm_script.py::test_a_port_that_another_job_listens_on_is_passed_over",),
    ),
)
