"""The cross-domain sets of the toy world, with models whose scores are known beforehand, and by a real one in two processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data_prep.toy_captions import write_captions
from data_prep.toy_files import PictureBook
from eval import cross_domain
from eval.cross_domain import CrossDomainResults, merged, table
from eval.cross_domain_set import FIND_CAPTION, FIND_PICTURE, PICTURE, CrossDomainResult, cross_domain_sets
from eval.estimate import forecast
from eval.model_protocol import silent
from eval.results import read_result
from pipeline.data.caption_sets import read_captions
from pipeline.data.sugarcrepe import read_choices
from pipeline.errors import ConfigError, DataError
from pipeline.foreign import load_foreign
from pipeline.presets import GME, PLAIN
from pipeline.sample import Side
from pipeline.templates import Instructions, Templates
from tests.eval.fakes import FakeModel, constant_vector, digest_vector
from tests.pipeline.conftest import model_folder as model_folder

ROWS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_captions(root / "cross-domain", seed=0, rows=ROWS, book=PictureBook())
    return root


def measured(data: Path, model: FakeModel) -> dict[str, CrossDomainResult]:
    return {each.dataset: each.measure(model, None, silent) for each in cross_domain_sets(data)}


def seeing(data: Path) -> FakeModel:
    """Embeds a picture and its right captions alike, and all else somewhere else."""
    whose: dict[str, bytes] = {}
    for name in ("flickr30k", "coco", "sharegpt4v", "urban1k"):
        found = read_captions(data, name)
        whose |= {caption: found.pictures[owner] for caption, owner in zip(found.captions, found.owners, strict=True)}
    for choices in read_choices(data):
        whose |= {right: choices.pictures[owner] for right, owner in zip(choices.right, choices.owners, strict=True)}
    return FakeModel(
        embed_one=lambda side: digest_vector(Side(images=side.images or (whose.get(side.text, side.text.encode()),)))
    )


def test_a_model_that_sees_is_always_right(data: Path) -> None:
    found = measured(data, seeing(data))
    assert list(found) == ["flickr30k", "coco", "sharegpt4v", "urban1k", "sugarcrepe"]
    for item in found.values():
        for each in item.directions:
            assert {name: score.value for name, score in each.measures.items()} == dict.fromkeys(each.measures, 1.0), item.name
            assert each.is_part and each.queries == len(each.ranks.pool)
    sizes = {each.name: (each.queries, each.candidates) for each in found["flickr30k"].directions}
    assert sizes == {"t2i": (5 * ROWS, ROWS), "i2t": (ROWS, 5 * ROWS)}
    assert [each.name for each in found["sugarcrepe"].directions][:2] == ["replace_obj", "replace_att"]
    assert set(merged(list(found.values())).groups) == {"replace", "swap", "add"}


def test_a_collapsed_model_scores_chance(data: Path) -> None:
    found = measured(data, FakeModel(embed_one=constant_vector))
    scores = {each.name: each.measures["recall_at_1"].value for each in found["coco"].directions}
    assert scores == {"t2i": pytest.approx(1 / ROWS), "i2t": pytest.approx(5 / (5 * ROWS))}
    assert all(each.measures["recall_at_1"].value == 0.5 for each in found["sugarcrepe"].directions)


def test_figures_are_those_of_whole_matrices(data: Path) -> None:
    """Independent of blocks and ranks: score matrices, a picture's captions known by their owners."""
    content, model = read_captions(data, "flickr30k"), FakeModel()
    (each,) = cross_domain_sets(data, ["flickr30k"])
    result = {item.name: item for item in each.measure(model, None, silent).directions}
    asking = np.stack([digest_vector(Side(text=FIND_PICTURE + caption)) for caption in content.captions])
    looking = np.stack([digest_vector(Side(text=FIND_CAPTION, images=(picture,))) for picture in content.pictures])
    pictures = np.stack([digest_vector(Side(text=PICTURE, images=(picture,))) for picture in content.pictures])
    captions = np.stack([digest_vector(Side(text=caption)) for caption in content.captions])
    owners = np.array(content.owners)
    right = (asking @ pictures.T).argmax(axis=1) == owners
    assert result["t2i"].measures["recall_at_1"].value == pytest.approx(right.mean())
    for cutoff in (1, 5, 10):
        best = np.argsort(-(looking @ captions.T), axis=1)[:, :cutoff]
        any_right = [(owners[row] == place).any() for place, row in enumerate(best)]
        assert result["i2t"].measures[f"recall_at_{cutoff}"].value == pytest.approx(np.mean(any_right))


def test_a_group_is_the_mean_over_its_kinds(data: Path) -> None:
    found = measured(data, FakeModel())["sugarcrepe"]
    groups = merged([found]).groups
    kinds = {each.name: each.measures["recall_at_1"].value for each in found.directions}
    assert groups["replace"].value == pytest.approx(np.mean([kinds[f"replace_{kind}"] for kind in ("obj", "att", "rel")]))
    assert groups["add"].count == 2 and groups["swap"].chance == 0.5


def test_every_figure_has_a_name_in_the_tracker(data: Path) -> None:
    results = merged(list(measured(data, FakeModel()).values()))
    figures = results.figures()
    assert figures["sugarcrepe/replace"] == results.groups["replace"].value
    assert figures["coco/i2t/recall_at_5"] == results.sets[1].directions[1].measures["recall_at_5"].value
    assert {f"sugarcrepe/{name}/recall_at_1" for name in ("add_obj", "swap_att")} <= figures.keys()


def test_table_says_what_is_a_part(data: Path) -> None:
    text = table(merged(list(measured(data, FakeModel()).values())))
    assert text.count("a part of the published test") == 8 + 7 and "mean: swap" in text


def test_sets_are_found_again_by_their_files(data: Path) -> None:
    each, *_ = cross_domain_sets(data)
    model = FakeModel()
    first = each.measure(model, None, silent)
    count = len(model.embedded)
    assert each.measure(model, first, silent) is first and len(model.embedded) == count


def test_what_is_no_set_is_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataset flickr: not one of flickr30k, coco"):
        cross_domain_sets(data, ["flickr"])
    with pytest.raises(DataError, match="has none of flickr30k, coco, sharegpt4v, urban1k, sugarcrepe"):
        cross_domain_sets(tmp_path)


def test_a_preset_s_sides_are_shown(model_folder: Path, data: Path) -> None:
    (each,) = cross_domain_sets(data, ["flickr30k"], preset=GME)
    sides = each.sides(each.read(), Templates())
    assert sides[0].instruction == FIND_PICTURE.strip() and not sides[-1].instruction and len(sides) == 12 * ROWS
    (line,) = [line for line in forecast(load_foreign(model_folder, GME), [each]).splitlines() if line.startswith("flickr30k")]
    assert line.split()[1] == str(12 * ROWS)


def test_two_processes_write_the_files_of_one_and_a_bad_set_costs_itself(model_folder: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    next((tmp_path / "data" / "cross-domain" / "urban1k" / "image").iterdir()).unlink()
    outs = tmp_path / "one", tmp_path / "two"
    common = ["--model", str(model_folder), "--preset", PLAIN.name, "--data", str(tmp_path / "data")]
    given = [[*common, "--out", str(out), "--work", f"{out}-work"] for out in outs]
    one = CliRunner().invoke(cross_domain.main, given[0])
    command = [sys.executable, "-m", "eval.cross_domain", *given[1], "--processes", "2"]
    two = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert one.exit_code == two.returncode == 1
    assert one.stdout.replace(str(outs[0]), str(outs[1])).startswith(two.stdout) and "sugarcrepe" in two.stdout
    assert two.stderr.count("error: urban1k: ") == 1, two.stderr
    files = [{path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} for out in outs]
    assert files[0] == files[1] and len(files[0]) == 8
    assert {item.name for item in read_result(CrossDomainResults, outs[0] / "cross_domain.json").sets} == {
        "flickr30k",
        "coco",
        "sharegpt4v",
        "sugarcrepe",
    }


def test_captions_and_pictures_are_worded_as_mmebs_own(data: Path) -> None:
    names = ("MSCOCO_t2i", "MSCOCO_i2t")
    told = tuple(Instructions(of=f"dataset.{name}", query=f"{name}, query", candidate=f"{name}, item") for name in names)
    each, *_ = cross_domain_sets(data, ["flickr30k"])
    parts = each._parts(each.read(), Templates(instructions=told))
    said = [{side.instruction for side in part} for part in parts]
    mark = "<|image_1|>\n"
    assert said == [
        {"MSCOCO_t2i, query\n"},
        {f"MSCOCO_t2i, item\n{mark}"},
        {f"MSCOCO_i2t, query\n{mark}"},
        {"MSCOCO_i2t, item\n"},
    ]
    model = FakeModel(templates=Templates(instructions=told))
    each.measure(model, None, silent)
    assert {side.instruction for side in model.embedded} == set.union(*said)
