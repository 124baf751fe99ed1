"""`python -m eval.attention`: a page, JSON and CSV over checkpoints, and one line for whatever cannot be looked at."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from data_prep.tiny_model import build_tiny_model
from eval.attention.__main__ import main, shown_pictures
from eval.attention.looks import AttentionResult, Shown, looks_of
from eval.results import read_result
from pipeline.data.shards import ShardIndex
from pipeline.inference import load_model
from pipeline.model.inputs import PixelLimits
from pipeline.model.tiles import Tiles
from pipeline.model.token_attention import token_attention
from pipeline.sample import Sample, Side
from pipeline.sequence import conversation_context
from pipeline.templates import Instructions, Templates
from pipeline.train.build import build_embedder
from tests.eval.test_report import HOSTILE, Page
from tests.pipeline.conftest import disturb, save_checkpoint
from tests.pipeline.corpus import SMALL, TEXTS, picture, small_recipe
from tests.pipeline.variants import no_tokens
from tests.shards import write_shards


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of different weights, one of a recipe without tokens, a picture, and shards of two rows."""
    root = tmp_path_factory.mktemp("attention")
    build_tiny_model(root / "model", TEXTS, SMALL, seed=0)
    for name, recipe in (("a", small_recipe()), ("b", small_recipe()), ("bare", no_tokens(small_recipe()))):
        embedder, _ = build_embedder(root / "model", recipe, dtype=torch.float32)
        if name != "a":
            disturb(embedder)
        weights = {name: parameter.detach() for name, parameter in embedder.named_parameters()}
        save_checkpoint(root / name / "step-00000001", weights, recipe, root / "model")
    rng = np.random.default_rng(0)
    Image.open(io.BytesIO(picture(rng, 84, 56))).save(root / "seen.webp", lossless=True)
    rows = [
        Sample(
            key="toy-00000000",
            dataset="Toy",
            query=Side(text=HOSTILE),
            positive=Side(images=(picture(rng), picture(rng, 28, 84))),
        ),
        Sample(key="toy-00000001", dataset="Toy", query=Side(text="q"), positive=Side(text="p")),
    ]
    write_shards(rows, root / "shards", dataset="Toy", kind="pairs", rows_per_shard=2)
    return root


def run(work: Path, out: Path, *given: str) -> Result:
    return CliRunner().invoke(main, [*given, "--work", str(work), "--out", str(out)])


@pytest.fixture(scope="module")
def shown(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shown")
    models = ("--checkpoint", str(work / "a"), "--checkpoint", str(work / "b" / "step-00000001"))
    given = ("--layer", "1", "--image", str(work / "seen.webp"), "--text", HOSTILE, "--row", "0")
    done = run(work, out, *models, *given)
    assert done.exit_code == 0, done.output
    assert [line.rsplit("/", 1)[1] for line in done.output.splitlines()] == ["attention.html", "attention.json", "attention.csv"]
    return out


def test_the_figures_are_those_of_the_weights(work: Path, shown: Path) -> None:
    """Share, map and mean over heads, from the weights of the row as the model reads it."""
    result = read_result(AttentionResult, shown / "attention.json")
    assert [len(each.pictures) for each in result.models] == [3, 3], "the file, and both pictures of the row"
    model = load_model(work / "b" / "step-00000001")
    assert [each.provenance.model for each in result.models][1] == model.fingerprint
    image = Image.open(work / "seen.webp").convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    row = model.reader.row(Side(text=HOSTILE, images=(file.getvalue(),)), slot=0)
    visual = row.sequence.image_tokens()
    weights = token_attention(model.embedder, row, model.builder.layout, 1).numpy()[..., visual]
    own = result.models[1].pictures[0]
    assert (own.rows, own.columns, own.name, len(visual)) == (2, 3, "seen.webp", 6)
    np.testing.assert_allclose(own.weights, weights.mean(axis=0), atol=1e-6)
    for head, figures in enumerate(own.heads[1:]):
        assert figures.head == head
        np.testing.assert_allclose(figures.share, weights[head].sum(axis=-1), atol=1e-6)
    assert own.heads[0].head is None and own.weights != result.models[0].pictures[0].weights
    positive = ShardIndex.open(work / "shards").read(0).positive
    assert positive is not None
    row = model.reader.row(conversation_context(positive, model.builder.layout), slot=0)
    weights = token_attention(model.embedder, row, model.builder.layout, 1).numpy()[..., row.sequence.image_tokens()]
    second = result.models[1].pictures[2]
    np.testing.assert_allclose(second.weights, weights.mean(axis=0)[:, -second.rows * second.columns :], atol=1e-6)


def test_the_table_has_a_line_for_each_head_and_token(shown: Path) -> None:
    lines = list(csv.DictReader((shown / "attention.csv").open()))
    result = read_result(AttentionResult, shown / "attention.json")
    assert len(lines) == 2 * 3 * 5 * (4 + 1), "models, pictures, heads and their mean, tokens and all together"
    of = {(line["model"], line["picture"], line["head"], line["token"]): line for line in lines}
    second = result.models[1]
    own = second.pictures[2].heads[3]
    line = of[second.label, "toy-00000000, positive#1", "2", "1"]
    assert [float(line[name]) for name in ("share", "coverage", "entropy")] == [
        own.share[1],
        own.coverage[1],
        own.entropy[1],
    ]
    assert float(of[second.label, "toy-00000000, positive#1", "2", "together"]["coverage"]) == own.coverage_together


def test_the_page_stands_alone_and_shows_every_map(shown: Path) -> None:
    text = (shown / "attention.html").read_text()
    page = Page(text)
    assert page.open == [] and "evil.example" not in {value for _, named in page.tags for value in named.values()}
    maps = [named["src"] or "" for tag, named in page.tags if tag == "img"]
    assert len(maps) == 2 * 3 * 5 * 4 and all(each.startswith("data:image/png;base64,") for each in maps)
    hidden = [named for tag, named in page.tags if tag == "div" and named.get("class") == "shut-out"]
    assert len(hidden) == 3 * 4, "of every picture the mean alone is open"
    assert re.findall(r"background-image: url\(.data:image/", text) and HOSTILE in "".join(page.text)
    result = json.loads((shown / "attention.json").read_text())
    for at, (model, token) in enumerate((model, token) for model in range(2) for token in range(4)):
        weights = np.array(result["models"][model]["pictures"][0]["weights"][token])
        with Image.open(io.BytesIO(base64.b64decode(maps[at].partition(",")[2]))) as opened:
            steps = np.asarray(opened)
        assert steps.shape == (2, 3)
        np.testing.assert_allclose(steps.reshape(-1) / 31, weights / weights.max(), atol=0.5 / 31 + 1e-3)


def test_the_middle_layer_where_none_is_named(work: Path, tmp_path: Path) -> None:
    done = run(work, tmp_path, "--checkpoint", str(work / "a"), "--row", "0")
    assert done.exit_code == 0
    (model,) = read_result(AttentionResult, tmp_path / "attention.json").models
    assert (model.layer, model.num_layers) == (1, 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--checkpoint", "a", "--row", "0", "--layer", "2"), r"--layer 2: .*/a has 2 layers, 0 to 1"),
        (("--checkpoint", "bare", "--row", "0"), r".*/bare: recipe \w+ has no compression tokens to look with"),
        (("--checkpoint", "none", "--row", "0"), r".*/none: no such folder"),
        (("--checkpoint", "a", "--image", "seen.txt"), r"--image .*/seen.txt: not a picture in a known format"),
        (("--checkpoint", "a", "--image", "none.png"), r"--image .*/none.png: cannot be read \(No such file"),
        (("--checkpoint", "a", "--row", "1"), r"--row 1: toy-00000001 has no picture"),
        (("--checkpoint", "a", "--row", "2"), r"--row 2: .*/shards holds 2 rows, 0 to 1"),
        (("--checkpoint", "a"), r"nothing to look at"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(work: Path, tmp_path: Path, given: tuple[str, ...], said: str) -> None:
    (work / "seen.txt").write_text("no picture")
    named = [str(work / word) if before in ("--checkpoint", "--image") else word for before, word in zip(("", *given), given)]  # noqa: B905
    done = run(work, tmp_path, *named)
    assert isinstance(done.exception, SystemExit) and re.fullmatch(f"error: {said}.*", str(done.exception)), done.exception
    assert list(tmp_path.iterdir()) == []


def test_a_picture_in_tiles_is_put_together() -> None:
    """1 x 2 tiles of 2 x 2 tokens side by side, the thumbnail's tokens spread over what they see; the sum stays."""
    tiles = Tiles(side=56, max_tiles=2)
    values = np.arange(12, dtype=np.float64)
    found = tiles.over_picture(np.stack([values, values]), (3, 2, 2), 56, 112)
    by_hand = [[0 + 4, 1 + 4, 4 + 4.5, 5 + 4.5], [2 + 5, 3 + 5, 6 + 5.5, 7 + 5.5]]
    assert found.tolist() == [by_hand, by_hand] and found[0].sum() == values.sum()
    tall = tiles.over_picture(values, (3, 2, 2), 112, 56)
    assert tall.tolist() == [[4, 5.5], [6, 7.5], [9, 10.5], [11, 12.5]]
    assert tiles.over_picture(values[:4], (1, 2, 2), 56, 56).tolist() == [[0, 1], [2, 3]]
    assert PixelLimits().over_picture(values, (1, 3, 4), 84, 112).tolist() == values.reshape(3, 4).tolist()


def test_bare_pictures_are_read_with_the_recipe_own_words(work: Path) -> None:
    model = load_model(work / "a" / "step-00000001")
    side = Side(images=(picture(np.random.default_rng(1)),))
    worded = replace(side, instruction=f"<|image_1|>\n{model.builder.layout.represent}")
    found = [looks_of(model, "a", [Shown(name="x", side=each)], 0).figures.pictures for each in (side, worded)]
    assert found[0] == found[1]


def test_rows_are_read_in_the_models_words_and_files_as_they_are(work: Path) -> None:
    told = Templates(instructions=(Instructions(of="default", query="find it", candidate="be found"),))
    file, row = shown_pictures((work / "seen.webp",), "as it is", work / "shards", (0,))
    assert file.worded(told) is file.side
    assert row.worded(told).instruction == "be found\n<|image_1|>\n<|image_2|>\n"
    model = load_model(work / "a" / "step-00000001")
    worded = replace(model, recipe=replace(model.recipe, templates=told))
    found = [
        looks_of(one, "a", [each], 0).figures.pictures
        for one, each in ((worded, row), (model, replace(row, side=row.worded(told))), (model, row))
    ]
    assert found[0] == found[1] != found[2]
