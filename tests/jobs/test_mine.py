"""Mining as a stage: what stands where in the chain, what it mines by, what is done again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.mine import SHEET, STATISTICS, MineStage
from jobs.run import Machine, run_chain, stages
from jobs.runner import is_done, run_stage
from jobs.stage import Context, Stage
from jobs.train import TrainStage
from pipeline.data.keys import make_key
from pipeline.data.references import References, read_references, references_file
from pipeline.data.reject import Reject
from pipeline.data.shards import ShardIndex
from pipeline.encode.share import Encoding
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest
from pipeline.model.inputs import PixelLimits
from pipeline.negatives import Mined
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.sample import Sample, Side
from pipeline.templates import Instructions, Templates
from tests.eval.fakes import FakeModel, digest_vector
from tests.eval.test_report import Page
from tests.shards import write_shards

LABELS = ("cat", "dog", "owl", "fox", "hen", "bee")


def mined(recipe: Recipe, **fields: int) -> Recipe:
    return recipe.with_phase(negatives=Mined(**{"most": 2, "first_rank": 1, "last_rank": 3, **fields}))


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[FakeModel]:
    """Untrained models that were loaded."""
    loaded: list[FakeModel] = []

    def fake(path: Path, recipe: Recipe, **given: object) -> FakeModel:
        loaded.append(FakeModel(fingerprint="untrained", templates=recipe.templates))
        return loaded[-1]

    monkeypatch.setattr("pipeline.inference.load_untrained", fake)
    monkeypatch.setattr(Encoding, "usual", lambda cache, ranks: Encoding(cache=cache, ranks=ranks))
    return loaded


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Twelve pairs, of which two each have the same query or the same label, and a conversation; row 5 was rejected."""
    context = Context(work=tmp_path / "work", data=tmp_path, recipe=mined(load("tiny_retrieval")), tracking="nowhere://")
    samples = [
        Reject(source="a", row=row, key=make_key("Labels", row), reason="unreadable")
        if row == 5
        else Sample(
            key=make_key("Labels", row),
            dataset="Labels",
            query=Side(text=f"picture {row % 10}"),
            positive=Side(text=LABELS[row % len(LABELS)]),
        )
        for row in range(13)
    ]
    write_shards(samples, context.shards, dataset="Labels", kind="pairs")
    talk = Sample(key=make_key("talks", 0), dataset="talks", query=Side(text="hello"))
    write_shards([talk], context.shards, dataset="talks", kind="conversations")
    context.model.mkdir(parents=True)
    (context.model / "config.json").write_text("{}")
    Manifest(stage="model", fingerprint="f", outputs={"content": "model"}).write(context.model)
    Manifest(stage="convert", fingerprint="f", outputs={"content": ShardIndex.open(context.shards).fingerprint}).write(
        context.shards
    )
    return context


def stage(context: Context) -> MineStage:
    return MineStage(train=TrainStage(context=context, phase=context.recipe.phase.name))


def test_negatives_are_near_candidates_that_are_no_positives(context: Context, models: list[FakeModel]) -> None:
    outcome = run_stage(stage(context), context)
    assert dict(outcome.manifest.counts) == {"pairs": 12, "references": 24, "fewer": 0}
    table = read_references(references_file(outcome.folder, "Labels")).to_pydict()
    for row, rank, candidate, similarity in zip(
        table["row"], table["rank"], table["candidate"], table["similarity"], strict=True
    ):
        query = digest_vector(Side(text=f"picture {row % 10}"))
        golds = {LABELS[other % 6] for other in range(13) if other != 5 and other % 10 == row % 10}
        others = sorted((label for label in LABELS if label not in golds), key=lambda one: -float(query @ vector(one)))
        assert LABELS[candidate % 6] == others[rank - 1] and rank <= 3
        assert similarity == pytest.approx(float(query @ vector(LABELS[candidate % 6])), abs=1e-6)
    said = " ".join(Page((outcome.folder / SHEET).read_text()).text)
    assert said.count("gold") == 6 + 1 and "rank 2, similarity" in said and "judged" not in said, (
        "six queries and the page's words"
    )
    statistics = json.loads((outcome.folder / STATISTICS).read_text())
    assert set(statistics) == {"Labels"} and statistics["Labels"]["queries"] == 9 and statistics["Labels"]["candidates"] == 6
    assert statistics["Labels"]["mean_similarity"] == pytest.approx(np.mean(table["similarity"]), abs=1e-4)


def vector(label: str) -> np.ndarray:
    return digest_vector(Side(text=label))


def test_what_is_mined_is_found_again_by_the_corpus_rows(context: Context, models: list[FakeModel]) -> None:
    """Row 5 of the source is a hole: row 6 is the corpus's fifth."""
    folder = run_stage(stage(context), context).folder
    index = ShardIndex.open(context.shards)
    found = References.open(folder, index)
    table = read_references(references_file(folder, "Labels")).to_pydict()
    keys = [
        (index.info(row).key, index.info(other).key)
        for row in index.datasets["Labels"]
        for other, side in found.of(row)
        if side == 1
    ]
    pairs = zip(table["row"], table["candidate"], strict=True)
    assert keys == [(make_key("Labels", row), make_key("Labels", candidate)) for row, candidate in pairs]
    assert found.of(len(index) - 1) == [], "a conversation has none"


def test_nothing_is_mined_or_embedded_twice(context: Context, models: list[FakeModel]) -> None:
    run_stage(stage(context), context)
    assert run_stage(stage(context), context).was_done and len(models) == 1
    other = replace(context, recipe=mined(load("tiny_retrieval"), most=1))
    assert dict(run_stage(stage(other), other).manifest.counts)["references"] == 12
    assert [len(model.embedded) for model in models] == [15, 0], "another choice of the same embeddings"


def test_mining_again_gives_what_training_has_read(context: Context, models: list[FakeModel]) -> None:
    """The note of a folder's beginning names the run, which is another one each time: no content of it."""
    first = run_stage(stage(context), context).manifest
    forced = replace(context, force=True)
    again = run_stage(stage(forced), forced)
    assert not again.was_done and again.manifest.outputs["content"] == first.outputs["content"]


def test_another_untrained_model_mines_anew_and_another_training_does_not(context: Context, models: list[FakeModel]) -> None:
    run_stage(stage(context), context)
    longer = replace(context, recipe=context.recipe.with_phase(steps=context.recipe.phase.steps + 1))
    assert run_stage(stage(longer), longer).was_done
    other = replace(context, recipe=replace(context.recipe, pixels=PixelLimits(min_tokens=1, max_tokens=9)))
    assert not run_stage(stage(other), other).was_done


def test_references_of_other_shards_are_refused(context: Context, models: list[FakeModel]) -> None:
    folder = run_stage(stage(context), context).folder
    short = context.work / "short"
    sample = Sample(key=make_key("Labels", 0), dataset="Labels", query=Side(text="a"), positive=Side(text="b"))
    write_shards([sample], short, dataset="Labels", kind="pairs")
    with pytest.raises(DataError, match=r"labels\.parquet: names rows that Labels does not have"):
        References.open(folder, ShardIndex.open(short))
    with pytest.raises(DataError, match="run crem mine first"):
        References.open(context.work / "nowhere", ShardIndex.open(short))


def test_mining_stands_in_front_of_the_phase_that_asks_for_it(context: Context) -> None:
    coma = load("tiny_coma")
    recipe = replace(coma, phases=(coma.phases[0], replace(coma.phases[1], negatives=Mined())))
    chain = stages(replace(context, recipe=recipe), Machine())
    names = [each.name for each in chain]
    assert names[names.index("train-compress") :] == ["train-compress", "mine-match", "train", "evaluate", "report"]
    assert {"before", "shards", "model"} == set(chain[names.index("mine-match")].inputs())
    assert "negatives" in chain[names.index("train")].inputs()
    ran: list[str] = []

    def note(each: Stage, within: Context) -> None:
        ran.append(each.name)

    for until, last in (("measure", "measure"), ("train", "train")):
        ran.clear()
        assert list(run_chain(chain, context, until=until, run=note)) and ran[-1] == last  # type: ignore[arg-type]


def test_a_phase_that_begins_elsewhere_still_mines_by_the_phase_before_it(context: Context) -> None:
    """A reranker begins at the restored weights, and its data are those of the embedder's judged phase."""
    magic, reranker = (replace(context, recipe=load(name)) for name in ("tiny_magic", "tiny_magic_reranker"))
    judge = Machine(negatives_judge_urls=("http://localhost:1/v1",))
    ours, others = (stages(each, judge) for each in (reranker, magic))
    assert [each.name for each in ours] == [each.name for each in others]
    for own, other in zip(ours, others, strict=True):
        if own.name in ("train-restore", "train-warm", "mine-mined", "train-mined", "mine-judged", "judge-judged"):
            assert (own.inputs(), own.settings()) == (other.inputs(), other.settings()), own.name
    train = ours[[each.name for each in ours].index("train")]
    assert train.inputs()["before"].path == context.work / "train-restore"
    assert ours[[each.name for each in ours].index("mine-judged")].inputs()["before"].path == context.work / "train-mined"


def test_a_phase_that_mines_nothing_is_told_how_it_would(context: Context) -> None:
    other = replace(context, recipe=load("tiny_retrieval"))
    with pytest.raises(ConfigError, match=r"--set phases\.0\.negatives=Mined asks for them"):
        run_stage(stage(other), other)


def test_a_later_phase_begins_where_the_one_before_ended(context: Context) -> None:
    """Of two trainings in a row each has an input `before`, which is another one, and negatives of its own."""
    magic = replace(context, recipe=load("tiny_magic"))
    read = {"shards": ShardIndex.open(context.shards).fingerprint, "model": "model"}
    for name, before in (("restore", {}), ("warm", {"before": "restore's weights"})):
        folder = context.work / f"train-{name}"
        folder.mkdir()
        manifest = Manifest(
            stage=folder.name, fingerprint="f", inputs={**read, **before}, outputs={"content": f"{name}'s weights"}
        )
        manifest.write(folder)
    third = MineStage(train=TrainStage(context=magic, phase="mined"))
    assert not is_done(third)
    Manifest(stage="synthesize", fingerprint="f", outputs={"content": "none"}).write(context.qa)
    for name, own in (("train-mined", {"before": "warm's weights", "negatives": "mined"}), ("judge-judged", {})):
        folder = context.work / name
        Manifest(stage=name, fingerprint="f", inputs={**read, **own}, outputs={"content": name}).write(folder)
    assert not is_done(TrainStage(context=magic, phase="judged"))
    other = Manifest(stage="train-warm", fingerprint="f", inputs={**read, "shards": "others"}, outputs={"content": "w"})
    other.write(context.work / "train-warm")
    with pytest.raises(DataError, match="not what crem train-warm read"):
        is_done(third)


def test_sides_are_mined_as_training_words_them(context: Context, models: list[FakeModel]) -> None:
    """And what the words say decides what is done again."""
    run_stage(stage(context), context)
    for query, candidate in (("name it", "a name"), ("tell it", "a label")):
        told = Instructions(of="dataset.Labels", query=query, candidate=candidate)
        worded = replace(context, recipe=replace(context.recipe, templates=Templates(instructions=(told,))))
        outcome = run_stage(stage(worded), worded)
        assert not outcome.was_done
        found = {(side.instruction, side.text) for side in models[-1].embedded}
        queries = {(f"{query}\n", f"picture {row % 10}") for row in range(13) if row != 5}
        assert found == queries | {(f"{candidate}\n", label) for label in LABELS}
    assert run_stage(stage(worded), worded).was_done
