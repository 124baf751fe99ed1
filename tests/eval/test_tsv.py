"""Question files: every field a text, pictures in all their forms, refusals that say what to do."""

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from eval.question_files import read_questions
from pipeline.errors import DataError
from tests.eval.fakes import png
from tests.pipeline.data.releases import picture

RED, BLUE = png((255, 0, 0)), png((0, 0, 255))
COLUMNS = ("index", "question", "A", "B", "C", "answer", "category", "image")


def coded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def write(path: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> Path:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([columns, *rows])
    path.write_text(file.getvalue(), encoding="utf-8")
    return path


def row(index: str = "0", *, options: Sequence[str] = ("x", "y", ""), answer: str = "A", image: str | None = None) -> list[str]:
    return [index, f"question {index}", *options, answer, "kind", coded(RED) if image is None else image]


def test_words_that_others_take_for_missing_stay(tmp_path: Path) -> None:
    words = ("None", "NA", "n/a", "null", "nan", "N/A")
    columns = ("index", "question", *"ABCDEF", "answer", "image")
    table = read_questions(write(tmp_path / "t.tsv", [["0", "q", *words, "B", coded(RED)]], columns))
    assert dict(table.rows[0].options) == dict(zip("ABCDEF", words, strict=True))


def test_numbers_stay_as_written(tmp_path: Path) -> None:
    table = read_questions(write(tmp_path / "t.tsv", [row("007", options=("1.0", "1e3", "TRUE"))]))
    assert table.rows[0].index == "007"
    assert list(table.rows[0].options.values()) == ["1.0", "1e3", "TRUE"]


def test_empty_options_are_missing_and_gaps_keep_their_labels(tmp_path: Path) -> None:
    table = read_questions(write(tmp_path / "t.tsv", [row(options=("x", "", "z"), answer="C")]))
    assert dict(table.rows[0].options) == {"A": "x", "C": "z"}


def test_line_breaks_tabs_and_quotes_inside_fields(tmp_path: Path) -> None:
    question = 'first line\nsecond "quoted"\tand a tab\r\nlast'
    fields = row()
    fields[1] = question
    assert read_questions(write(tmp_path / "t.tsv", [fields])).rows[0].question == question


def test_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", [row()])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_questions(path).rows[0].index == "0"


def test_pictures_base64_pointer_and_list(tmp_path: Path) -> None:
    rows = [row("10"), row("11", image="10"), row("12", image=repr([coded(RED), coded(BLUE)]))]
    table = read_questions(write(tmp_path / "t.tsv", rows))
    assert [item.images for item in table.rows] == [(RED,), (RED,), (RED, BLUE)]


def test_pointer_to_a_row_with_a_list(tmp_path: Path) -> None:
    rows = [row("1", image="2"), row("2", image=repr([coded(BLUE), coded(RED)]))]
    assert read_questions(write(tmp_path / "t.tsv", rows)).rows[0].images == (BLUE, RED)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("99", "names row 99"),
        ("2", "has no picture of its own"),
        ("", "no picture"),
        ("*" * 100, "not base64"),
        (base64.b64encode(b"no picture at all" * 10).decode(), "its picture: not a picture in a known format"),
        (coded(png((9, 9, 9), size=(60, 60))[:-30]), "cannot be decoded"),
        (coded(png((9, 9, 9), size=(402, 2))), "402 x 2 pixels, more than 200 times longer than wide"),
        ("[__import__('os').getcwd(), " + "'x'" * 30 + "]", "not a list literal"),
        ("[1, 2]", "other than texts"),
    ],
)
def test_rows_with_unusable_pictures_are_named(tmp_path: Path, image: str, reason: str) -> None:
    table = read_questions(write(tmp_path / "t.tsv", [row("1", image=image), row("2", image="3"), row("3")]))
    assert [item.index for item in table.rows] == ["2", "3"]
    assert table.skipped[0].index == "1"
    assert reason in table.skipped[0].reason


def test_every_split_is_asked(tmp_path: Path) -> None:
    """MMMU_DEV_VAL holds 150 rows of `dev` and 900 of `validation`; which is reported, its benchmark knows."""
    rows = [[*row("1"), "dev"], [*row("2"), "validation"], [*row("3"), ""]]
    table = read_questions(write(tmp_path / "t.tsv", rows, (*COLUMNS, "split")))
    assert [item.split for item in table.rows] == ["dev", "validation", ""]


def test_picture_files_beside_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "t"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(RED)
    (folder / "b.png").write_bytes(BLUE)
    columns = ("index", "question", "answer", "image_path")
    rows = [["0", "q?", "yes", "a.png"], ["1", "q?", "No", "['a.png', 'b.png']"], ["2", "q?", "no", "../../secret.png"]]
    table = read_questions(write(tmp_path / "t.tsv", rows, columns))
    assert [item.images for item in table.rows] == [(RED,), (RED, BLUE)]
    assert [item.answer for item in table.rows] == ["Yes", "No"]
    assert "plain relative path" in table.skipped[0].reason


def test_a_picture_too_large_to_decode_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.picture_preparer.MAX_DECODED_PIXELS", 150)
    table = read_questions(write(tmp_path / "t.tsv", [row("0"), row("1", image=coded(png((1, 2, 3), (10, 10))))]))
    assert [item.index for item in table.rows] == ["1"]
    assert "declares more than" in table.skipped[0].reason


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_other_forms_are_read_as_conversion_reads_them(tmp_path: Path, form: str) -> None:
    encoded = picture(1, form=form)
    table = read_questions(write(tmp_path / "t.tsv", [row(image=coded(encoded))]))
    with Image.open(io.BytesIO(table.rows[0].images[0])) as found, Image.open(io.BytesIO(encoded)) as before:
        assert (found.format, found.mode) == ("PNG", "RGB")
        assert found.tobytes() == before.convert("RGB").tobytes()


def test_questions_with_free_answers_are_asked(tmp_path: Path) -> None:
    columns = ("index", "question", "answer", "category", "image")
    rows = [[str(number), "What?", answer, "rec", coded(RED)] for number, answer in enumerate(["x<AND>y<OR>z", "S", "7", "yes"])]
    table = read_questions(write(tmp_path / "MMVet_small.tsv", rows, columns))
    assert [item.kind for item in table.rows] == ["open"] * 4
    assert table.summary == "4 questions, 4 of them with free answers"
    rows = [[*fields[:3], "any", fields[4]] for fields in rows]
    own = read_questions(write(tmp_path / "own.tsv", rows, columns))
    assert [item.kind for item in own.rows] == ["open", "open", "yes_no"]
    assert own.skipped[0].reason == "its answer is S, and it has no options", "options were lost"


@pytest.mark.parametrize("name", ["context", "image_2", "video", "options", "a", "Hint", "image ", ""])
def test_a_column_that_could_change_what_is_measured_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"column {name} is not read, and could change what is measured"):
        read_questions(write(tmp_path / "t.tsv", [[*row("1"), ""], [*row("2"), "something"]], (*COLUMNS, name)))
    assert len(read_questions(write(tmp_path / "t.tsv", [[*row("1"), ""]], (*COLUMNS, name))).rows) == 1


def test_notes_of_rows_are_passed_over(tmp_path: Path) -> None:
    plain = read_questions(write(tmp_path / "t.tsv", [row()]))
    assert read_questions(write(tmp_path / "t.tsv", [[*row(), "MMBench"]], (*COLUMNS, "source"))).rows == plain.rows


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column A stands in it twice"):
        read_questions(write(tmp_path / "t.tsv", [[*row(), "z"]], (*COLUMNS, "A")))


@pytest.mark.parametrize("question", ['"What is it', '"This" is what?'])
def test_a_quote_that_would_swallow_rows_is_refused(tmp_path: Path, question: str) -> None:
    """Read leniently, the first of ten rows would be the last, and nine of a known benchmark gone without a word."""
    rows = [[str(number), question if not number else "q", "x", "y", "A", coded(RED)] for number in range(10)]
    lines = [["index", "question", "A", "B", "answer", "image"], *rows]
    (tmp_path / "t.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=r"t\.tsv: not a readable TSV file \(behind line 1: .*close its quotes"):
        read_questions(tmp_path / "t.tsv")


def test_a_quote_that_closes_by_chance_swallows_no_rows(tmp_path: Path) -> None:
    """Two stray quotes, nine rows apart, make well-formed fields: the first row's question holds the others."""
    rows = [[str(number), "q", "x", "y", "A", coded(RED)] for number in range(10)]
    rows[0][1], rows[9][1] = '"Which', 'the last one"'
    lines = [["index", "question", "A", "B", "answer", "image"], *rows]
    (tmp_path / "t.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=r"t\.tsv: field question of index 0 holds other rows; a quote in it is not closed"):
        read_questions(tmp_path / "t.tsv")


def test_a_download_cut_inside_of_a_row_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", [row("1"), row("2")])
    path.write_bytes(path.read_bytes()[: -len(coded(RED)) - 2])
    with pytest.raises(DataError, match=r"t\.tsv: its last row has no field image, so it came in part; download it again"):
        read_questions(path)


def test_a_row_of_too_few_fields_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", [row("1"), row("2")])
    path.write_text(path.read_text().replace("question 1", "question\n9", 1))
    table = read_questions(path)
    assert [item.index for item in table.rows] == ["2"]
    assert [item.index for item in table.skipped] == ["1", "9"]
    assert table.skipped[0].reason == "it has no field A: a line break inside of a field needs quotes around it"


def test_a_question_of_a_book_s_length_is_left_out(tmp_path: Path) -> None:
    """It would take minutes, and say nothing."""
    rows = [row("1"), row("2")]
    rows[0][1] = "word " * 60_000
    table = read_questions(write(tmp_path / "t.tsv", rows))
    assert [item.index for item in table.rows] == ["2"]
    assert table.skipped[0].reason == "its question and options have 300002 characters, more than 24000"


def test_a_row_with_more_fields_than_columns_is_left_out(tmp_path: Path) -> None:
    """A tab inside of a question moves all that stands behind it: options become answers."""
    rows = [["0", "Which\tcolumn?", "x", "y", "B", "A", coded(RED)], ["1", "q", "x", "y", "B", "A", coded(RED), "", ""]]
    lines = [["index", "question", "A", "B", "C", "answer", "image"], *rows]
    (tmp_path / "t.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    table = read_questions(tmp_path / "t.tsv")
    assert [item.index for item in table.rows] == ["1"]
    assert table.skipped[0].reason.startswith("it has more fields than there are columns")


def test_a_nul_in_a_text_costs_its_row(tmp_path: Path) -> None:
    table = read_questions(write(tmp_path / "t.tsv", [row("0", options=("x\0", "y", "")), row("1")]))
    assert [item.index for item in table.rows] == ["1"]
    assert "NUL" in table.skipped[0].reason


def test_answers_that_fit_nothing_are_named(tmp_path: Path) -> None:
    rows = [row("1", answer="C"), row("2", options=("", "", ""), answer="C"), row("3"), row("4", answer="")]
    table = read_questions(write(tmp_path / "t.tsv", rows))
    assert [item.index for item in table.rows] == ["3"]
    assert [item.index for item in table.skipped] == ["1", "2", "4"]


@pytest.mark.parametrize("gone", ["index", "question", "answer", "image"])
def test_a_missing_column_is_named(tmp_path: Path, gone: str) -> None:
    place = COLUMNS.index(gone)
    rows = [[field for number, field in enumerate(row()) if number != place]]
    columns = [name for name in COLUMNS if name != gone]
    with pytest.raises(DataError, match=f"no column {gone}"):
        read_questions(write(tmp_path / "t.tsv", rows, columns))


def test_options_inside_the_question_are_refused(tmp_path: Path) -> None:
    rows = [["0", "Which? Options: A: x, B: y", "B", coded(RED)]]
    with pytest.raises(DataError, match="no option columns"):
        read_questions(write(tmp_path / "MMStar.tsv", rows, ("index", "question", "answer", "image")))


def test_an_index_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="index 4 stands twice"):
        read_questions(write(tmp_path / "t.tsv", [row("4"), row("4")]))


def test_unusable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "b.tsv"
    binary.write_bytes(b"\xff\xfe\x00index")
    empty = tmp_path / "e.tsv"
    empty.write_text("")
    for path in (
        binary,
        empty,
        tmp_path / "missing.tsv",
        write(tmp_path / "h.tsv", []),
        write(tmp_path / "n.tsv", [row(image="")]),
    ):
        with pytest.raises(DataError) as error:
            read_questions(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_real_files(real_mini: Path) -> None:
    tables = [read_questions(real_mini / "mcq" / f"{name}.tsv") for name in ("SugarCrepe", "TabMWP")]
    assert [(len(table.rows), len(table.skipped)) for table in tables] == [(60, 0), (100, 0)]
    assert {item.kind for table in tables for item in table.rows} == {"choice"}
