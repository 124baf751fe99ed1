"""The benchmark of finished chains: it makes what it says, times what finds its work done, and nothing that works again."""

from pathlib import Path

import pytest

from benchmarks import second_start
from jobs.defaults import ORDER
from jobs.runner import Outcome
from launchers.stages import tell
from pipeline.manifest import Manifest
from pipeline.recipes.source import resolve


class Chain:
    """Commands that print what the real ones would, without working; the `again` one never finds its work done."""

    def __init__(self, capsys: pytest.CaptureFixture[str], again: str = "") -> None:
        self.capsys, self.again = capsys, again
        self.calls: list[tuple[str, ...]] = []
        self.pictures: list[int] = []

    def __call__(self, command: str, *words: str | Path) -> tuple[str, second_start.Seconds]:
        given = dict(zip(words[::2], map(Path, words[1::2]), strict=True))
        self.calls.append((command, *map(str, words[::2])))
        if command == "toy":
            (given["--work"] / "toy").mkdir(parents=True)
            (given["--work"] / "toy" / "manifest.json").touch()
        else:
            self.pictures.append(sum(1 for _ in given["--data"].rglob("*.jpg")))
            assert not (given["--data"] / "manifest.json").exists(), "the data are a user's own"
        is_first = len(self.calls) <= 2
        for stage in ORDER[1:] if command == "run" else [command]:
            was_done = not is_first and command != self.again
            manifest = Manifest(stage=stage, fingerprint="")
            tell(Outcome(stage=stage, folder=given["--work"], manifest=manifest, was_done=was_done, seconds=1.0))
        return self.capsys.readouterr().out, (float(len(self.calls)), 0.5)


def test_finished_commands_are_timed_by_their_fastest_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = Chain(capsys)
    monkeypatch.setattr(second_start, "crem", chain)
    # Calls are numbered: toy, run, then twice each of convert, evaluate and run.
    assert second_start.measure(tmp_path, 7, 2) == {"convert": (3.0, 0.5), "evaluate": (5.0, 0.5), "run": (7.0, 0.5)}
    assert chain.pictures == [7] * 7
    assert [call[0] for call in chain.calls] == ["toy", "run", *["convert"] * 2, *["evaluate"] * 2, *["run"] * 2]


@pytest.mark.parametrize("again", second_start.COMMANDS)
def test_a_command_that_works_again_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], again: str
) -> None:
    monkeypatch.setattr(second_start, "crem", Chain(capsys, again))
    with pytest.raises(SystemExit, match=f"crem {again} worked again"):
        second_start.measure(tmp_path, 2, 1)


def test_pictures_are_a_thousand_to_a_folder(tmp_path: Path) -> None:
    second_start.add_pictures(tmp_path, 2002)
    folders = [folder for name in second_start.FOLDERS for folder in (tmp_path / name).iterdir()]
    sizes = sorted(sum(1 for _ in folder.iterdir()) for folder in folders)
    assert sizes == [1, 1, 500, 500, 500, 500]


def test_the_small_chain_is_of_fields_that_the_recipe_has() -> None:
    phase = resolve("tiny", second_start.SMALL).phase
    assert (phase.steps, phase.checkpoint_every, phase.evaluate_every) == (2, 2, 2)
