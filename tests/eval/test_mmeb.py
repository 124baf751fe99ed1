"""P@1 on a small benchmark in the release layout, with models whose scores are known beforehand."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.mmeb import MmebResult, evaluate, table
from eval.pictures import blanked
from eval.protocols import PROTOCOLS
from eval.results import read_result, write_result
from eval.retrieval_set import lacking_sets, retrieval_sets
from pipeline.errors import ConfigError, DataError
from pipeline.sample import Side
from tests.eval.fakes import FakeModel, constant_vector, digest_vector, png, write_eval, write_pictures

COLORS = {f"c{number}": (number * 40, 255 - number * 40, 90) for number in range(6)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`naming` (classification, 6 pictures, 6 labels) and `MSCOCO_t2i` (a known set, 6 captions, 6 pictures)."""
    pictures = {f"naming/{name}.png": png(color) for name, color in COLORS.items()}
    write_pictures(tmp_path, pictures)
    names = list(COLORS)
    naming, finding = [], []
    for number, name in enumerate(names):
        others = [*names[number:], *names[:number]]
        naming.append(("<|image_1|>\nName the colour\n", f"naming/{name}.png", others, [""] * 6))
        finding.append((f"Find the colour {name}.\n", "", ["<|image_1|>\n"] * 6, [f"naming/{other}.png" for other in others]))
    write_eval(tmp_path, "naming", naming)
    write_eval(tmp_path, "MSCOCO_t2i", finding)
    (tmp_path / "MMEB-eval" / "datasets.json").write_text('{"naming": {"meta_task": "classification", "split": "OOD"}}')
    return tmp_path


def seeing(side: Side) -> np.ndarray:
    """Embeds by the colour that a side shows or names."""
    names = [name for name, color in COLORS.items() if png(color) in side.images or name in side.text]
    return digest_vector(Side(text=names[0] if names else "nothing"))


def test_a_model_that_sees_is_always_right(data: Path) -> None:
    result = evaluate(FakeModel(embed_one=seeing), data)
    assert {item.name: item.score.value for item in result.datasets} == {"MSCOCO_t2i": 1.0, "naming": 1.0}
    assert {item.name: (item.meta_task, item.split) for item in result.datasets} == {
        "MSCOCO_t2i": ("retrieval", "IND"),
        "naming": ("classification", "OOD"),
    }
    assert set(result.groups) == {"classification", "retrieval", "IND", "OOD", "overall"}
    assert result.overall.chance == pytest.approx(1 / 6)
    assert all(item.smallest_pool == 6 and item.has_pictures for item in result.datasets)


def test_a_collapsed_model_scores_exactly_chance(data: Path) -> None:
    result = evaluate(FakeModel(embed_one=constant_vector), data)
    assert [item.score.value for item in result.datasets] == [pytest.approx(1 / 6)] * 2
    assert not result.overall.beats_chance


def test_blank_pictures_leave_nothing_to_see(data: Path) -> None:
    model = FakeModel(embed_one=seeing)
    result = evaluate(model, data, blank=True)
    assert result.overall.value <= 1 / 6 + 1e-9
    shown = {picture for side in model.embedded for picture in side.images}
    assert len(shown) == 1  # all of one size, so all the same grey
    assert not shown & {png(color) for color in COLORS.values()}
    assert Image.open(io.BytesIO(shown.pop())).size == (20, 10), "as wide and as high as what it stands for"
    assert result.provenance.settings["blank"] is True


def test_blank_sides_keep_their_words() -> None:
    side = Side(instruction="Find: ", text="x", images=(png((1, 2, 3)), png((4, 5, 6), (7, 90))))
    blank = blanked(side)
    assert (blank.instruction, blank.text) == ("Find: ", "x")
    assert [Image.open(io.BytesIO(picture)).size for picture in blank.images] == [(20, 10), (7, 90)]


def test_each_distinct_side_is_embedded_once(data: Path) -> None:
    model = FakeModel()
    evaluate(model, data, datasets=["naming"])
    assert len(model.embedded) == 12
    lengths = [len(side.text) + 1000 * len(side.images) for side in model.embedded]
    assert lengths == sorted(lengths)


def test_order_of_embedding_never_mixes_up_sides(data: Path) -> None:
    result = evaluate(FakeModel(), data, datasets=["naming"])
    images = [png(color) for color in COLORS.values()]
    queries = np.stack([digest_vector(Side(text="<|image_1|>\nName the colour\n", images=(image,))) for image in images])
    labels = np.stack([digest_vector(Side(text=name)) for name in COLORS])
    expected = (queries @ labels.T).argmax(axis=1) == np.arange(6)
    assert result.datasets[0].hits == tuple(expected.astype(float))


def test_non_finite_embeddings_name_the_set(data: Path) -> None:
    with pytest.raises(DataError, match="MSCOCO_t2i: 12 embeddings are not finite"):
        evaluate(FakeModel(embed_one=lambda side: np.full(4, np.nan)), data)


def test_unknown_dataset(data: Path) -> None:
    with pytest.raises(ConfigError, match="there are MSCOCO_t2i, naming"):
        evaluate(FakeModel(), data, datasets=["nomen"])


def test_a_set_of_the_hub_that_no_list_counts_is_evaluated_only_when_named(data: Path) -> None:
    write_eval(data, "CIFAR-100", [("Name it\n", "", ["cat", "dog"], ["", ""])])
    counted = evaluate(FakeModel(), data)
    assert [item.name for item in counted.datasets] == ["MSCOCO_t2i", "naming"] and counted.overall.count == 2
    named = evaluate(FakeModel(), data, datasets=["CIFAR-100", "naming"])
    assert [item.name for item in named.datasets] == ["CIFAR-100", "naming"]


def test_result_file_is_the_same_every_time_and_reads_back(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    result = evaluate(FakeModel(), data)
    write_result(result, first)
    write_result(evaluate(FakeModel(), data), second)
    assert first.read_bytes() == second.read_bytes()
    assert read_result(MmebResult, first) == result


def test_fingerprint_of_the_data_follows_its_content(data: Path) -> None:
    before = evaluate(FakeModel(), data).provenance.data
    write_pictures(data, {f"naming/{name}.png": png((1, 2, 3)) for name in COLORS})
    assert evaluate(FakeModel(), data).provenance.data != before


def test_examples_mark_the_right_candidate(data: Path) -> None:
    example = evaluate(FakeModel(embed_one=seeing), data, datasets=["naming"]).datasets[0].examples[0]
    assert example.query.text == "Name the colour"
    assert example.query.pictures[0].startswith("data:image/png;base64,")
    assert [(item.side.text, item.rank, item.is_right) for item in example.candidates][:1] == [("c0", 1, True)]
    assert len(example.candidates) == 3


def test_a_tie_is_never_shown_as_won(data: Path) -> None:
    example = evaluate(FakeModel(embed_one=constant_vector), data, datasets=["naming"]).datasets[0].examples[0]
    assert [(item.rank, item.is_right) for item in example.candidates] == [(1, False), (2, False), (3, False), (6, True)]


def test_table_shows_every_set_and_mean(data: Path) -> None:
    text = table(evaluate(FakeModel(embed_one=seeing), data))
    for word in ("naming", "MSCOCO_t2i", "mean: overall", "100.0", "16.7"):
        assert word in text


def test_metrics_stand_beside_p_at_1(data: Path) -> None:
    (finding, naming) = evaluate(FakeModel(), data).datasets
    for item in (finding, naming):
        assert item.measures["hit_at_1"] == item.score
        assert item.measures["hit_at_10"].value == item.measures["recall_at_10"].value == 1.0, "pools of six"
        places = np.array(item.ranks.better) + 1
        assert set(item.ranks.tied) == {1}
        assert item.measures["mrr"].value == item.measures["map"].value == pytest.approx((1 / places).mean())
        assert item.measures["mrr"].chance == pytest.approx(sum(1 / place for place in range(1, 7)) / 6)
        assert item.measures["ndcg_linear_at_5"].value == item.measures["ndcg_exponential_at_5"].value
        ranked = np.where(places <= 5, 1 / np.log2(places + 1), 0)
        assert item.measures["ndcg_linear_at_5"].value == pytest.approx(ranked.mean())


def test_rules_by_name(tmp_path: Path) -> None:
    """Two captions of one picture are one candidate of a text-to-picture set by the second rules; a set may be one pool."""
    pictures = [png((number, 0, 0)) for number in range(3)]
    write_pictures(tmp_path, {f"{number}.png": picture for number, picture in enumerate(pictures)})
    captions, paths = ["a", "b", "c", "d"], ["0.png", "0.png", "1.png", "2.png"]
    rows = [(f"find {number}", "", captions[number:] + captions[:1], paths[number:] + paths[:1]) for number in range(1, 3)]
    for name in ("WebQA", "mine"):
        write_eval(tmp_path, name, rows)
    found = {name: evaluate(FakeModel(), tmp_path, protocol=protocol).datasets for name, protocol in PROTOCOLS.items()}
    assert {name: [(item.num_candidates, item.smallest_pool) for item in sets] for name, sets in found.items()} == {
        "mmeb_v1": [(4, 3), (4, 3)],
        "mmeb_v2": [(3, 3), (4, 3)],
        "mmeb_v1_global": [(4, 4), (4, 4)],
        "mmeb_v2_global": [(3, 3), (4, 4)],
    }
    assert [item.name for item in found["mmeb_v1"]] == ["WebQA", "mine"]
    for name, sets in found.items():
        assert all(item.provenance.settings["protocol"] == name for item in sets)
        assert all(bool(item.examples) == (not name.endswith("global")) for item in sets)
    assert len({item.provenance.data for item in (found["mmeb_v1"][0], found["mmeb_v2"][0])}) == 2


def test_a_whole_set_as_one_pool_ranks_every_candidate(data: Path) -> None:
    (item,) = evaluate(FakeModel(), data, datasets=["naming"], protocol=PROTOCOLS["mmeb_v1_global"]).datasets
    (own,) = evaluate(FakeModel(), data, datasets=["naming"]).datasets
    assert item.hits == own.hits and item.ranks == own.ranks, "here every row lists the whole set"


def test_results_of_other_rules_have_files_of_their_own(data: Path) -> None:
    names = {each.name for protocol in PROTOCOLS.values() for each in retrieval_sets(data, protocol=protocol)}
    names |= {each.name for each in retrieval_sets(data, blank=True)}
    assert {name for name in names if name.endswith("naming.json")} == {
        "mmeb/naming.json",
        "mmeb-blank/naming.json",
        "mmeb_v2/naming.json",
        "mmeb_v1_global/naming.json",
        "mmeb_v2_global/naming.json",
    }


def test_what_a_folder_lacks_of_mmeb_is_named(data: Path, tmp_path: Path) -> None:
    said = lacking_sets(data)
    assert said.startswith(f"{data}/MMEB-eval: lacks 35 of MMEB's 36 sets: A-OKVQA, CIRR, ") and "MSCOCO_t2i" not in said
    write_eval(tmp_path / "own", "mine", [("q", "", ["a"], [""])])
    assert lacking_sets(tmp_path / "own") == "", "whose sets are all their own needs none of MMEB's"
