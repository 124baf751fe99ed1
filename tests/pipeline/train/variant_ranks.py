"""One rank that takes the gradients of variants: `python -m tests.pipeline.train.variant_ranks OUT`, job on stdin."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import gradients
from tests.pipeline.variants import VARIANTS


def main() -> None:
    job, out = json.loads(sys.stdin.read()), Path(sys.argv[1])
    for name, stage in job["variants"]:
        recipe = VARIANTS[name](small_recipe(zero_stage=stage, chunk_tokens=job["chunk_tokens"]))
        found = gradients(Path(job["folder"]), recipe)
        if dist.get_rank() == 0:
            torch.save(found, out / f"{name}-{stage}.pt")


if __name__ == "__main__":
    main()
