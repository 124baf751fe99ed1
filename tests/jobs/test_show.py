"""The page of a step shows exactly the rows that the step trains on."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from data_prep.tiny_model import build_tiny_model
from eval import step_page
from jobs import show
from jobs.stage import Context
from pipeline.data.qa import QaTable
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError, DataError
from pipeline.model.backbone import open_folder
from pipeline.targets import Dialogue, OwnQuestions
from pipeline.train.build import chorus_ids
from pipeline.train.dataloader.step_dataset import StepDataset
from tests.pipeline.corpus import SMALL, TEXTS, MemoryQa, corpus, measured, small_recipe


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(work=tmp_path / "work", data=tmp_path / "data", recipe=small_recipe(), tracking="nowhere://")


@dataclass(frozen=True)
class Words:
    """Decodes to a text that would break a page that does not escape."""

    def decode(self, ids: list[int]) -> str:
        return f"<script>{len(ids)}</script>"


def test_a_page_draws_the_rows_of_its_step(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_model(context.model, TEXTS, SMALL, seed=0)
    monkeypatch.setattr(ShardIndex, "open", classmethod(lambda cls, folder: corpus()))
    monkeypatch.setattr(QaTable, "open", classmethod(lambda cls, folder, kind: MemoryQa()))
    page = show.show_step(context, 2).read_text()
    folder, recipe = open_folder(context.model), context.recipe
    vocabulary = folder.vocabulary(chorus_ids(folder, recipe))
    dataset = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    rows = dataset.global_rows(dataset.draw(1), 1)
    assert sorted(re.findall(r"<td>((?:pictures|texts|talks)-\d+)</td>", page)) == sorted(row.key for row in rows)
    assert page.count('src="data:image/png;base64,') == sum(len(row.pixels) for row in rows) > 0
    assert page.count("answers see the tokens only") == sum(row.compressed for row in rows)
    assert f"{len(rows)} sequences, {sum(len(row.sequence) for row in rows)} tokens" in page
    assert page.count("COMPRESSION</b> 4 tokens") == sum(row.has_compression for row in rows)
    escaped = step_page.step_page(step_page.shown_step(dataset, Words(), 0), "step")
    assert "&lt;script&gt;" in escaped and "<script>" not in escaped


def test_a_page_of_dialogues_draws_dialogues(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_model(context.model, TEXTS, SMALL, seed=0)
    opened: list[str] = []

    def noted(cls: type, folder: Path, kind: str) -> MemoryQa:
        opened.append(kind)
        return MemoryQa()

    monkeypatch.setattr(ShardIndex, "open", classmethod(lambda cls, folder: corpus()))
    monkeypatch.setattr(QaTable, "open", classmethod(noted))
    for target in (Dialogue(), OwnQuestions()):
        show.show_step(replace(context, recipe=context.recipe.with_phase(target=target)), 1)
    assert opened == ["dialogue", "qa"]


def test_a_side_that_cannot_be_read_is_named_and_the_others_are_drawn(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_model(context.model, TEXTS, SMALL, seed=0)
    monkeypatch.setattr(QaTable, "open", classmethod(lambda cls, folder, kind: MemoryQa()))
    pages = []
    for broken in ((), tuple(f"pictures-{number}" for number in range(24))):
        index = corpus().broken(*broken)
        monkeypatch.setattr(ShardIndex, "open", classmethod(lambda cls, folder, index=index: index))
        pages.append(show.show_step(context, 1).read_text())
    cell = r"<td>((?:pictures|texts|talks)-\d+)</td>"
    lost = re.findall(r"Left out, since it cannot be read: query of (pictures-\d+), pictures/00000\.tar: .*decoded", pages[1])
    assert lost and "Left out" not in pages[0]
    assert sorted(re.findall(cell, pages[1]) + lost) == sorted(re.findall(cell, pages[0]))


def test_steps_and_folders_that_are_not_there_are_refused(context: Context) -> None:
    with pytest.raises(ConfigError, match="--step 7: recipe tiny has steps 1 to 6"):
        show.show_step(context, 7)
    with pytest.raises(DataError, match="no such folder of shards"):
        show.show_step(context, 1)
