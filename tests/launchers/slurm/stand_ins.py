"""Stand-ins for Slurm's commands: sbatch numbers jobs from 11 on, scontrol and sacct answer from files."""

from pathlib import Path

import pytest

SBATCH = """#!/usr/bin/env bash
echo "sbatch $*" >>"$SLURM_LOG"
count=$(grep -c ^sbatch "$SLURM_LOG")
[ "$count" -lt "${REFUSE_FROM:-99}" ] || { echo "sbatch: error: Batch job submission failed: Invalid account" >&2; exit 1; }
echo $((10 + count))
"""
SCONTROL = """#!/usr/bin/env bash
file=$SLURM_LOG.job${*: -1}
[ -e "$file" ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
cat "$file"
"""
SACCT = """#!/usr/bin/env bash
file=$SLURM_LOG.kept${*: -1}
[ -e "$file" ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
cat "$file"
"""
SCANCEL = '#!/usr/bin/env bash\necho "scancel $*" >>"$SLURM_LOG"\n'


class StandIns:
    """The folder of the stand-ins, which stands on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "log"
        for name, text in (("sbatch", SBATCH), ("scontrol", SCONTROL), ("sacct", SACCT), ("scancel", SCANCEL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("SLURM_LOG", str(self.log))
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def job(self, number: str, *tasks: str) -> None:
        """What scontrol says of a job, or of the tasks of an array."""
        Path(f"{self.log}.job{number}").write_text("".join(f"JobId={number} JobName=crem {task}\n" for task in tasks))

    def accounted(self, number: str, *states: str) -> None:
        """What accounting kept of it."""
        Path(f"{self.log}.kept{number}").write_text("".join(f"{state}\n" for state in states))

    @property
    def asked(self) -> list[str]:
        """The commands that change something, as they were called."""
        return self.log.read_text().splitlines() if self.log.exists() else []
