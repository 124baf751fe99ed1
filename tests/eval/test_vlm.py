"""Questions asked of a fake model: modes, resuming, what the result says."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from eval.question_files import question_files, read_questions
from eval.results import read_result, write_result
from eval.vlm import evaluate
from eval.vlm_result import VlmResult, kept_tokens, table_text
from eval.vlm_settings import PRESETS, VlmSettings
from pipeline.asked_as import AskedAs
from pipeline.cache_size import CacheSize
from pipeline.encode.encoder import Reading
from pipeline.errors import ConfigError, DataError
from pipeline.sample import Side
from tests.eval.fakes import FakeModel, FakeReader, png
from tests.eval.test_tsv import coded, row, write
from tests.pipeline.data.releases import picture

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = list(COLORS)


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    """Twelve questions for the colour; the right option moves round, each colour is right four times."""
    rows = []
    for number in range(12):
        name = NAMES[number % 3]
        options = NAMES[number // 3 % 3 :] + NAMES[: number // 3 % 3]
        label = "ABC"[options.index(name)]
        rows.append([str(number), "Which colour?", *options, label, f"kind {number % 2}", coded(png(COLORS[name]))])
    return write(tmp_path / "Colours.tsv", rows)


def looking(context: Side, question: str, compressed: bool) -> str:
    """Says the colour of the picture it is given."""
    return next((name for name, color in COLORS.items() if png(color) in context.images), "nothing")


def test_native_and_compressed_pass_the_mode_on(tsv: Path, tmp_path: Path) -> None:
    model = FakeModel(
        answer_one=lambda context, question, compressed: "nothing" if compressed else looking(context, question, False)
    )
    native = evaluate(model, tsv, mode="native", out=tmp_path)
    compressed = evaluate(model, tsv, mode="compressed", out=tmp_path)
    assert (native.accuracy.score.value, native.unparsed) == (1.0, 0)
    assert (compressed.accuracy.score.value, compressed.unparsed) == (0.0, 12)
    assert set(native.categories) == {"kind 0", "kind 1"}
    assert native.accuracy.score.chance == pytest.approx(1 / 3)
    assert (native.headline.name, native.headline.unit) == ("accuracy", "rows")


def test_swapped_pictures_are_never_the_own_ones(tsv: Path, tmp_path: Path) -> None:
    modes: set[bool] = set()

    def noting(context: Side, question: str, compressed: bool) -> str:
        modes.add(compressed)
        return looking(context, question, compressed)

    result = evaluate(FakeModel(answer_one=noting), tsv, mode="swapped", out=tmp_path)
    assert result.accuracy.score.value == 0.0
    assert result.unparsed == 0
    assert modes == {True}, "the control of compressed answers sees tokens alone, too"


class Counting(FakeModel):
    """Keeps the contexts of each call."""

    calls: list[list[Side]]

    def answer(self, contexts: Sequence[Side], questions: Sequence[str], **how: Any) -> list[str]:
        self.calls = [*getattr(self, "calls", []), list(contexts)]
        return super().answer(contexts, questions, **how)


@pytest.mark.parametrize("size", [1, 3, 5, 64])
def test_all_questions_about_a_picture_are_asked_together(tsv: Path, tmp_path: Path, size: int) -> None:
    """So that the picture is compressed once; the file has them apart, and a batch may hold less than a picture's questions."""
    model = Counting(answer_one=looking)
    settings = VlmSettings(batch_rows=size)
    compressed = evaluate(model, tsv, mode="compressed", out=tmp_path, settings=settings)
    assert sum(len(set(call)) for call in model.calls) == len(NAMES)
    assert sum(map(len, model.calls)) == 12 and len(model.calls) == (1 if size == 64 else 3)
    native = Counting(answer_one=looking)
    assert evaluate(native, tsv, mode="native", out=tmp_path, settings=settings).hits == compressed.hits
    assert len(native.calls) == -(-12 // size)


def test_what_is_kept_of_the_contexts_is_said(tsv: Path, tmp_path: Path) -> None:
    model = FakeModel(answer_one=looking)
    model.reader = cast(FakeReader, SimpleNamespace(reading=lambda side: Reading(tokens=100)))
    compressed = evaluate(model, tsv, mode="compressed", out=tmp_path)
    tokens = 100.0
    assert kept_tokens(compressed) == CacheSize(system=20, compression=16, context=tokens)
    text = table_text(compressed)
    assert f"cache: 16 of {tokens:.1f} context tokens, {1600 / tokens:.2f} %" in text and "20 of SYSTEM" in text
    native = evaluate(FakeModel(answer_one=looking), tsv, mode="native", out=tmp_path)
    assert kept_tokens(native) is None and "cache" not in table_text(native)
    blind = replace(compressed, conditions={**compressed.conditions, "mean_context_tokens": 0.0})
    assert kept_tokens(blind) is None, "no row has a picture"


def test_a_killed_evaluation_asks_only_what_is_missing(tsv: Path, tmp_path: Path) -> None:
    whole = evaluate(FakeModel(answer_one=looking), tsv, mode="native", out=tmp_path / "whole")
    calls = 0

    def dying(context: Side, question: str, compressed: bool) -> str:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise KeyboardInterrupt
        return looking(context, question, compressed)

    settings = VlmSettings(batch_rows=4)
    with pytest.raises(KeyboardInterrupt):
        evaluate(FakeModel(answer_one=dying), tsv, mode="native", out=tmp_path / "cut", settings=settings)
    (answers,) = (tmp_path / "cut").glob("Colours-native.*.jsonl")
    answers.write_bytes(answers.read_bytes()[:-5])
    model = FakeModel(answer_one=looking)
    resumed = evaluate(model, tsv, mode="native", out=tmp_path / "cut")
    assert len(model.asked) == 12 - 7
    assert resumed == whole
    again = FakeModel()
    assert evaluate(again, tsv, mode="native", out=tmp_path / "cut") == whole
    assert again.asked == []


def test_another_matcher_scores_the_same_answers_again(tsv: Path, tmp_path: Path) -> None:
    said = FakeModel(answer_one=lambda context, question, compressed: "B is the one I would take")
    assert evaluate(said, tsv, mode="native", out=tmp_path).unparsed == 12
    older = evaluate(said, tsv, mode="native", out=tmp_path, settings=VlmSettings(matcher="vlmevalkit-2025-07"))
    assert older.unparsed == 0
    assert older.provenance.settings["matcher"] == "vlmevalkit-2025-07"
    assert len(said.asked) == 12


def test_another_prompt_is_asked_anew(tsv: Path, tmp_path: Path) -> None:
    model = FakeModel(answer_one=looking)
    evaluate(model, tsv, mode="native", out=tmp_path)
    evaluate(model, tsv, mode="native", out=tmp_path, settings=VlmSettings(prompt_style="default"))
    assert len(model.asked) == 24
    assert model.asked[-1].endswith("above. \n")


def test_answers_have_the_length_that_is_set(tsv: Path, tmp_path: Path) -> None:
    """Longer answers are others: they are asked for anew."""
    model = FakeModel(answer_one=looking)
    evaluate(model, tsv, mode="native", out=tmp_path)
    evaluate(model, tsv, mode="native", out=tmp_path, settings=VlmSettings(max_new_tokens=5))
    assert model.lengths == [128] * 12 + [5] * 12, "first the benchmark's own length"


def test_unknown_matcher_stops_before_any_question(tsv: Path, tmp_path: Path) -> None:
    model = FakeModel()
    with pytest.raises(ConfigError, match="option matcher"):
        evaluate(model, tsv, mode="native", out=tmp_path, settings=VlmSettings(matcher="newest"))
    assert model.asked == []


def test_rotated_questions_get_a_circular_score(tmp_path: Path) -> None:
    rows = []
    for turn in range(3):
        options = NAMES[turn:] + NAMES[:turn]
        for number, name in enumerate(NAMES):
            index = str(turn * 1_000_000 + number)
            rows.append([index, "?", *options, "ABC"[options.index(name)], "", coded(png(COLORS[name]))])
    path = write(tmp_path / "Turned.tsv", rows)
    looked = evaluate(FakeModel(answer_one=looking), path, mode="native", out=tmp_path / "a").headline
    always = evaluate(FakeModel(), path, mode="native", out=tmp_path / "b")
    assert looked.score is not None
    assert (looked.name, looked.score.value, looked.score.count) == ("all rotations right", 1.0, 3)
    assert always.accuracy is not None and always.headline.score is not None
    assert always.accuracy.score.value == pytest.approx(1 / 3)
    assert always.headline.score.value == 0.0
    (line,) = [line for line in table_text(always).splitlines() if line.startswith("  overall: ")]
    assert line == "  overall: 0.0 (0.0-0.0), all rotations right, 3 questions"


def test_result_reads_back_and_names_no_date(tsv: Path, tmp_path: Path) -> None:
    result = evaluate(FakeModel(answer_one=looking), tsv, mode="native", out=tmp_path)
    write_result(result, tmp_path / "Colours-native.json")
    assert read_result(VlmResult, tmp_path / "Colours-native.json") == result
    assert set(json.loads((tmp_path / "Colours-native.json").read_text())["provenance"]) == {
        "model",
        "data",
        "settings",
        "libraries",
    }


def test_examples_are_the_same_rows_in_every_mode(tsv: Path, tmp_path: Path) -> None:
    results = [evaluate(FakeModel(answer_one=looking), tsv, mode=mode, out=tmp_path) for mode in ("native", "swapped")]
    first, second = ([example.index for example in result.examples] for result in results)
    assert first == second
    assert len({example.category for example in results[0].examples[:2]}) == 2
    assert results[0].examples[0].pictures[0].startswith("data:image/png;base64,")


def test_table_has_categories_majority_and_unparsed(tsv: Path, tmp_path: Path) -> None:
    text = table_text(evaluate(FakeModel(answer_one=looking), tsv, mode="native", out=tmp_path))
    for word in (
        "Colours, native",
        "kind 0",
        "overall: 100.0 (100.0-100.0), accuracy, 12 rows",
        "unparsed: 0",
        "vlmevalkit-2025-08",
    ):
        assert word in text


def test_question_files_of_a_data_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="question files"):
        question_files(tmp_path)
    (tmp_path / "mcq").mkdir()
    for name in ("B", "A", "._B"):
        (tmp_path / "mcq" / f"{name}.tsv").touch()
    (tmp_path / "mcq" / "._A.tsv").write_bytes(b"Mac OS X")
    assert [path.stem for path in question_files(tmp_path)] == ["A", "B"]
    (tmp_path / "mcq" / "D.TSV").touch()
    (tmp_path / "mcq" / ".E.tsv").touch()
    assert [path.name for path in question_files(tmp_path)] == ["A.tsv", "B.tsv", "D.TSV"]
    assert [path.stem for path in question_files(tmp_path, ["B"])] == ["B"]
    with pytest.raises(DataError, match=r"no C\.tsv"):
        question_files(tmp_path, ["C"])


def test_the_preset_of_vlmevalkit_asks_as_it_does(tsv: Path, tmp_path: Path) -> None:
    """Limits, system line and length reach the model, and stand in the result with the file's md5 and the number type."""
    model = FakeModel(answer_one=looking)
    result = evaluate(model, tsv, mode="native", out=tmp_path, settings=PRESETS["vlmevalkit"])
    assert model.ways == [AskedAs(min_tokens=1280, max_tokens=16384, system="model")]
    assert set(model.lengths) == {2048}
    assert result.conditions == {"dtype": "float32", "asked": 1, "max_new_tokens": 2048}
    assert (len(result.md5), result.provenance.settings["alpha"], result.provenance.settings["parity"]) == (32, "drop", True)
    again = FakeModel()
    assert evaluate(again, tsv, mode="native", out=tmp_path, settings=PRESETS["vlmevalkit"]) == result
    assert again.ways == [], "answers that are there need no model"


def test_white_space_at_the_end_of_a_prompt_is_asked(tsv: Path, tmp_path: Path) -> None:
    """It is all that tells the styles apart for an English choice: stripped, a style would ask the same anew."""
    model = FakeModel(answer_one=looking)
    evaluate(model, tsv, mode="native", out=tmp_path, settings=VlmSettings(prompt_style="default"))
    assert model.ways == [AskedAs(keeps_space=True)] and model.asked[0].endswith("above. \n")


def test_transparent_pictures_are_laid_on_white_or_lose_their_alpha(tmp_path: Path) -> None:
    """What is drawn in black on nothing: VLMEvalKit shows it black on black."""
    file = io.BytesIO()
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(file, format="PNG")
    path = write(tmp_path / "t.tsv", [row(image=coded(file.getvalue()))])
    (ours,), (theirs,) = read_questions(path).rows, read_questions(path, alpha="drop").rows
    assert ours.images == (file.getvalue(),), "whoever reads it lays it on white"
    with Image.open(io.BytesIO(theirs.images[0])) as found:
        assert (found.mode, found.getpixel((0, 0))) == ("RGB", (0, 0, 0))


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_every_form_are_asked_and_shown(tmp_path: Path, form: str) -> None:
    rows = [row(str(number), image=coded(picture(number, form=form))) for number in range(3)]
    for mode in ("native", "swapped"):
        result = evaluate(FakeModel(), write(tmp_path / "t.tsv", rows), mode=mode, out=tmp_path)
        assert (len(result.hits), result.skipped) == (3, ())
        assert result.examples[0].pictures[0].startswith("data:image/")
