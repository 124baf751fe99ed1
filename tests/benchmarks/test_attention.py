"""The attention benchmark runs, its rows are what it says, and it does not time routes that differ."""

from dataclasses import replace

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.attention import check_equal, main, tensors
from benchmarks.attention_routes import routes, visible
from benchmarks.attention_rows import packed, single
from pipeline.roles import Role

CPU = torch.device("cpu")


def test_a_table_is_printed() -> None:
    done = CliRunner().invoke(main, ["--tokens", "256", "--heads", "4", "2", "16", "--repeats", "1", "--no-flex"])
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in text.strip("|").split("|")] for text in done.output.splitlines() if text.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    measured = [tuple(row[1:4]) for row in rows if row[0] == "cpu"]
    assert measured == [("one row", "256", name) for name in ("split", "dense mask")] + [
        ("packed rows", "256", name) for name in ("split", "dense mask", "dense, padded batch")
    ]
    assert all(float(row[6].split()[0]) > 0 for row in rows if row[0] == "cpu")
    assert torch.cuda.is_available() or rows[-1][:2] == ["cuda", "not measured: no GPU"]


@pytest.mark.parametrize("num_tokens", [256, 512, 1024, 2048, 4096])
def test_the_rows_are_of_the_shape_that_is_told(num_tokens: int) -> None:
    for rows in (single(num_tokens), packed(num_tokens)):
        assert sum(len(row) for row in rows.roles) == num_tokens
        assert all((row == Role.COMPRESSION).sum() == 16 and row[-1] == Role.ANSWER for row in rows.roles)
    assert (single(num_tokens).roles[0] == Role.CONTEXT).mean() == pytest.approx(0.75, abs=0.02)
    assert len(packed(num_tokens).roles) > 1 and f"{len(packed(num_tokens).roles)} rows" in packed(num_tokens).histogram()


def test_routes_that_differ_are_not_timed() -> None:
    rows = packed(256)
    given, compared = tensors(256, (4, 2, 16), CPU), routes(rows, CPU, torch.float32, with_flex=False)
    check_equal(compared, given)
    seen = visible(rows).clone()
    seen[-1, 0] = True  # one entry of another row
    wrong = torch.where(seen, 0.0, float("-inf"))
    false_route = replace(
        compared[0],
        attend=lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=wrong, enable_gqa=True),
    )
    with pytest.raises(click.ClickException, match="split is not the dense mask: output differs"):
        check_equal([false_route, *compared[1:]], given)


def test_the_mask_is_eq_2() -> None:
    rows = packed(256)
    seen, owner, roles = visible(rows).numpy(), rows.owner(), np.concatenate(list(rows.roles))
    for i in range(0, 256, 3):
        for j in range(256):
            hidden = rows.compressed[owner[i]] and roles[i] >= Role.QUESTION and roles[j] == Role.CONTEXT
            assert seen[i, j] == (owner[i] == owner[j] and j <= i and not hidden)
