"""What a training left behind, for comparisons bit for bit."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.train import checkpoint


def steps_done(work: Path) -> int:
    """Steps in the log so far."""
    file = work / "train" / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def weights(train: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint: weights and the optimizer's moments."""
    newest = checkpoint.steps(train / "checkpoints")[0]
    return {
        f"{file.name} {name}": value for file in sorted(newest.glob("*.safetensors")) for name, value in load_file(file).items()
    }


def assert_equal_weights(train: Path, unbroken: Path) -> None:
    """Both trainings have done the same steps and hold the same bits."""
    newest, expected_newest = (checkpoint.steps(folder / "checkpoints")[0] for folder in (train, unbroken))
    assert newest.name == expected_newest.name
    got, expected = weights(train), weights(unbroken)
    assert got.keys() == expected.keys() and expected
    assert [name for name in expected if not torch.equal(got[name], expected[name])] == []
