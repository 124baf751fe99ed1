"""One rank that takes the gradients of variants none of whose weights is zero or one.

`python -m tests.pipeline.train.variant_ranks OUT`, job on stdin.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from jobs.ranks import end
from tests.pipeline.conftest import build_disturbed
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train import ranks
from tests.pipeline.variants import VARIANTS


def main() -> None:
    job, out = json.loads(sys.stdin.read()), Path(sys.argv[1])
    for name, stage in job["variants"]:
        recipe = VARIANTS[name](small_recipe(zero_stage=stage, chunk_tokens=job["chunk_tokens"]))
        with mock.patch.object(ranks, "build_embedder", build_disturbed):
            found = ranks.gradients(Path(job["folder"]), recipe)
        if dist.get_rank() == 0:
            torch.save(found, out / f"{name}-{stage}.pt")


if __name__ == "__main__":
    main()
    dist.destroy_process_group()
    end(0)
