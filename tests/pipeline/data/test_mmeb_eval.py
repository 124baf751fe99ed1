import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.mmeb_eval import check_eval, describe, eval_datasets, eval_fingerprint, read_eval
from pipeline.data.mmeb_registry import DatasetInfo
from pipeline.errors import DataError
from pipeline.sample import Side
from tests.pipeline.data.releases import picture, write_eval

IMAGE = "<|image_1|>\n"
A, B = picture(1), picture(2)


def eval_row(text: str, path: str, *targets: tuple[str, str]) -> dict[str, Any]:
    return {
        "qry_text": text,
        "qry_img_path": path,
        "tgt_text": [text for text, _ in targets],
        "tgt_img_path": [path for _, path in targets],
    }


def test_candidates_are_shared_by_text_and_picture(tmp_path: Path) -> None:
    rows = [
        eval_row(IMAGE + "one", "Toy/a.jpg", ("cat", ""), ("dog", ""), (IMAGE + "pic", "Toy/a.jpg"), ("dog", "")),
        eval_row("two", "", ("dog", ""), (IMAGE + "pic", "Toy/b.jpg"), ("cat", "")),
        eval_row("three", "", (IMAGE + "pic", "Toy/b.jpg"), (IMAGE + "other", "Toy/b.jpg")),
    ]
    write_eval(tmp_path, "Toy", rows, {"Toy/a.jpg": A, "Toy/b.jpg": B})
    found = read_eval(tmp_path, "Toy")
    assert found.queries == (Side(text=IMAGE + "one", images=(A,)), Side(text="two"), Side(text="three"))
    assert found.candidates == (
        Side(text="cat"),
        Side(text="dog"),
        Side(text=IMAGE + "pic", images=(A,)),
        Side(text=IMAGE + "pic", images=(B,)),
        Side(text=IMAGE + "other", images=(B,)),
    )
    assert found.pools == ((0, 1, 2), (1, 3, 0), (3, 4))
    assert eval_datasets(tmp_path) == ["Toy"]


def test_a_benchmark_is_used_whole_or_not_at_all(tmp_path: Path) -> None:
    good = eval_row("q", "", ("a", ""), ("b", ""))
    file = r"MMEB-eval/Toy/test-00000-of-00001\.parquet: row 1: "
    for row, complaint in [
        (good | {"tgt_img_path": [""]}, "tgt_text has 2 entries and tgt_img_path 1"),
        (good | {"tgt_text": [], "tgt_img_path": []}, "it has no candidates"),
        (eval_row("q", "Toy/none.jpg", ("a", "")), r"images\.zip has no member Toy/none\.jpg"),
    ]:
        write_eval(tmp_path, "Toy", [good, row], {"Toy/a.jpg": A})
        with pytest.raises(DataError, match=file + complaint):
            read_eval(tmp_path, "Toy")


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "TIFF"])
def test_a_benchmark_s_picture_in_another_form_is_read_as_conversion_reads_it(tmp_path: Path, form: str) -> None:
    """What comes later sorts by size and draws thumbnails; a name that ends in jpg says nothing. Of an animation: the start."""
    file, frames = io.BytesIO(), [Image.new("RGB", (28, 30), colour) for colour in ("red", "lime", "blue")]
    many = {} if form == "BMP" else {"save_all": True, "append_images": frames[1:]}
    frames[0].save(file, form, **many, **({"lossless": True} if form == "WEBP" else {}))
    write_eval(tmp_path, "Toy", [eval_row("q", "Toy/a.jpg", ("a", ""))], {"Toy/a.jpg": file.getvalue()})
    for verify in (True, False):
        (encoded,) = read_eval(tmp_path, "Toy", verify=verify).queries[0].images
        with Image.open(io.BytesIO(encoded)) as found:
            assert (found.format, found.mode, getattr(found, "n_frames", 1)) == ("PNG", "RGB", 1)
            assert found.getcolors() == [(28 * 30, (255, 0, 0))]


def test_jpeg_and_png_files_of_a_benchmark_are_not_encoded_again(tmp_path: Path) -> None:
    """Turned, in other colours, see-through or animated: whoever reads them later does that, without a loss."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [picture(1, exif=exif), picture(2, mode="CMYK"), picture(3, form="PNG", mode="RGBA"), picture(4, size=(1200, 900))]
    names = {f"Toy/{number}": data for number, data in enumerate(files)}
    write_eval(tmp_path, "Toy", [eval_row("q", name, ("a", "")) for name in names], names)
    for verify in (True, False):
        assert [query.images[0] for query in read_eval(tmp_path, "Toy", verify=verify).queries] == files


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (picture(1)[:-2], "the picture cannot be decoded"),
        (b"<html>Forbidden</html>", "not a picture in a known format"),
        (b"", "the picture file is empty"),
        (picture(1, size=(402, 2), form="PNG"), "more than 200 times longer than wide"),
    ],
)
def test_a_damaged_picture_of_a_benchmark_is_named_by_set_file_row_and_path(tmp_path: Path, damaged: bytes, reason: str) -> None:
    good, pictures = eval_row("q", "Toy/a.jpg", ("a", "")), {"Toy/a.jpg": A, "Toy/b.jpg": damaged}
    for row in (eval_row("q", "Toy/b.jpg", ("a", "")), eval_row("q", "", ("a", ""), ("b", "Toy/b.jpg"))):
        write_eval(tmp_path, "Toy", [good, row], pictures)
        for read in (read_eval, check_eval):
            with pytest.raises(DataError, match=r"MMEB-eval/Toy/test-00000-of-00001\.parquet: row 1: Toy/b\.jpg: .*" + reason):
                read(tmp_path, "Toy")


def test_a_checked_set_is_told_by_its_fingerprint(tmp_path: Path) -> None:
    write_eval(tmp_path, "Toy", [eval_row("q", "Toy/a.jpg", ("a", ""))], {"Toy/a.jpg": A})
    assert check_eval(tmp_path, "Toy") == eval_fingerprint(read_eval(tmp_path, "Toy"))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (eval_row("", "", ("a", ""), ("b", "")), "its query has neither text nor picture"),
        (eval_row(" \n", "", ("a", "")), "its query has neither text nor picture"),
        (eval_row(IMAGE, "", ("a", "")), "its query has neither text nor picture"),
        (eval_row("q", "", ("", ""), ("b", "")), "its right candidate has neither text nor picture"),
        (eval_row("q", "", (" ", ""), ("b", "")), "its right candidate has neither text nor picture"),
        (eval_row("q", "", (IMAGE, ""), ("b", "")), "its right candidate has neither text nor picture"),
    ],
)
def test_an_empty_query_or_right_candidate_is_refused_as_in_training(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    write_eval(tmp_path, "Toy", [eval_row("q", "", ("b", ""), ("", "")), row], {})
    with pytest.raises(DataError, match=r"Toy/test-00000-of-00001\.parquet: row 1: " + complaint):
        read_eval(tmp_path, "Toy")


def test_an_empty_wrong_candidate_stays_in_its_pool_and_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without it the pool would be smaller than everybody else's, and chance higher."""
    write_eval(tmp_path, "Toy", [eval_row("q", "", ("a", ""), ("", ""), ("b", "")), eval_row("r", "", ("b", ""), ("", ""))], {})
    with caplog.at_level("INFO"):
        found = read_eval(tmp_path, "Toy")
    assert found.candidates == (Side(text="a"), Side(), Side(text="b"))
    assert found.pools == ((0, 1, 2), (2, 1))
    assert "wrong candidates with neither text nor picture, which stay in their pools: 2" in caplog.text


ASK, FIND, SHOW = "Represent the given image with the following question:", "Find a picture of:", "Represent the given image"
COLUMNS = ("qry_inst", "qry_text", "qry_img_path", "tgt_inst", "tgt_text", "tgt_img_path")
PARSERS = {
    "questions": (
        (IMAGE + ASK, "what is it", "Toy/a.jpg", None, ["a cat", "a dog"], ["", ""]),
        eval_row(f"{IMAGE}{ASK} what is it", "Toy/a.jpg", ("a cat", ""), ("a dog", "")),
    ),
    "labels": (
        (IMAGE + SHOW, "", "Toy/a.jpg", None, ["cat", "dog"], ["", ""]),
        eval_row(IMAGE + SHOW, "Toy/a.jpg", ("cat", ""), ("dog", "")),
    ),
    "pictures for a text": (
        (FIND, "a cat", "", IMAGE + SHOW, ["", ""], ["Toy/a.jpg", "Toy/b.jpg"]),
        eval_row(f"{FIND} a cat", "", (IMAGE + SHOW, "Toy/a.jpg"), (IMAGE + SHOW, "Toy/b.jpg")),
    ),
    "pictures with captions": (
        (IMAGE + FIND, "who", "", [IMAGE + SHOW, IMAGE + SHOW], ["a king", ""], ["Toy/a.jpg", "Toy/b.jpg"]),
        eval_row(f"{FIND} who", "", (f"{IMAGE}{SHOW} a king", "Toy/a.jpg"), (IMAGE + SHOW, "Toy/b.jpg")),
    ),
    "pictures for a picture": (
        (IMAGE + SHOW + "\n", "in red", "Toy/a.jpg", SHOW, [None, "b"], ["Toy/b.jpg", "Toy/a.jpg"]),
        eval_row(f"{IMAGE}{SHOW}\nin red", "Toy/a.jpg", (SHOW, "Toy/b.jpg"), (f"{SHOW} b", "Toy/a.jpg")),
    ),
    "captions for a picture": (
        (IMAGE + SHOW, "", "Toy/a.jpg", IMAGE + SHOW, ["a cat", "a dog"], ["", ""]),
        eval_row(IMAGE + SHOW, "Toy/a.jpg", ("a cat", ""), ("a dog", "")),
    ),
}


@pytest.mark.parametrize("kind", PARSERS)
def test_the_instruction_layout_gives_the_sides_of_the_release_layout(tmp_path: Path, kind: str) -> None:
    """The image part of MMEB-V2 keeps its instructions in columns of their own: unread, scores fell by 21 points of 68."""
    row, release = PARSERS[kind]
    found = []
    for name, each in (("Toy", dict(zip(COLUMNS, row, strict=True))), ("Release", release)):
        write_eval(tmp_path / name, name, [each], {"Toy/a.jpg": A, "Toy/b.jpg": B})
        found.append(read_eval(tmp_path / name, name))
    for ours, theirs in zip(*((*each.queries, *each.candidates) for each in found), strict=True):
        assert ((ours.instruction + ours.text).strip(), ours.images) == (
            (theirs.instruction + theirs.text).strip(),
            theirs.images,
        )
    assert found[0].pools == found[1].pools


def test_an_instruction_of_a_column_is_known_whatever_its_wording(tmp_path: Path) -> None:
    """A published model that is given it in the system turn must not find it in the text."""
    row = (IMAGE + "Which is it:", "a\ncat", "Toy/a.jpg", IMAGE + "Look at this", ["", "so"], ["Toy/b.jpg", "Toy/a.jpg"])
    write_eval(tmp_path, "Toy", [dict(zip(COLUMNS, row, strict=True))], {"Toy/a.jpg": A, "Toy/b.jpg": B})
    found = read_eval(tmp_path, "Toy")
    assert found.queries == (Side(instruction=f"{IMAGE}Which is it: ", text="a\ncat", images=(A,)),)
    assert [(side.instruction, side.text) for side in found.candidates] == [
        (f"{IMAGE}Look at this", ""),
        (f"{IMAGE}Look at this ", "so"),
    ]
    words = (IMAGE + "who:", "it is", "", None, ["the king"], [""])
    write_eval(tmp_path, "Words", [dict(zip(COLUMNS, words, strict=True))], {})
    assert read_eval(tmp_path, "Words").queries == (Side(instruction="who: ", text="it is"),), "a marker without a picture goes"


def test_a_set_below_another_folder_is_told(tmp_path: Path) -> None:
    """As in a copy of the hub's folder inside of ours: what is not read must not look as if it were measured."""
    write_eval(tmp_path, "Toy", [eval_row("q", "Toy/a.jpg", ("a", ""))], {"Toy/a.jpg": A})
    below = tmp_path / "MMEB-eval" / "image-tasks" / "NIGHTS"
    shutil.copytree(tmp_path / "MMEB-eval" / "Toy", below)
    with pytest.raises(DataError, match=rf"{below}: is a set in a folder of folders, .* move it up to {tmp_path}/MMEB-eval"):
        eval_datasets(tmp_path)
    below.parent.rename(tmp_path / "MMEB-eval" / "images")
    assert eval_datasets(tmp_path) == ["Toy"], "pictures are not looked through"


def test_what_becomes_of_instructions_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [dict(zip(COLUMNS, PARSERS[kind][0], strict=True)) for kind in ("captions for a picture", "labels")]
    write_eval(tmp_path, "Toy", rows, {"Toy/a.jpg": A})
    with caplog.at_level("INFO"):
        read_eval(tmp_path, "Toy")
    assert "Toy: rows whose instructions stood in columns of their own and were put in front of their texts: 2" in caplog.messages
    assert "instruction of their row's pictures does not apply: 2" in caplog.text


def test_an_instruction_alone_is_no_query_and_no_candidate(tmp_path: Path) -> None:
    """In the release layout it cannot be told; here the columns say that there is nothing to look for."""
    good = dict(zip(COLUMNS, (FIND, "q", "", SHOW, ["a", ""], ["", ""]), strict=True))
    write_eval(tmp_path, "Toy", [good], {})
    assert read_eval(tmp_path, "Toy").candidates == (Side(text="a"), Side())
    for changed, what in (({"qry_text": " "}, "query"), ({"tgt_text": ["", "a"]}, "right candidate")):
        write_eval(tmp_path, "Toy", [good, good | changed], {})
        with pytest.raises(DataError, match=f"row 1: its {what} has neither text nor picture"):
            read_eval(tmp_path, "Toy")


def test_candidates_known_by_their_picture_have_the_first_ones_text(tmp_path: Path) -> None:
    """The second rule of identity; labels, which have no picture, are known by their words."""
    rows = [
        eval_row("q", "", ("one", "Toy/a.jpg"), ("two", "Toy/a.jpg"), ("three", "Toy/b.jpg"), ("word", ""), ("noun", "")),
        eval_row("r", "", ("other", "Toy/b.jpg"), ("word", ""), ("two", "Toy/a.jpg")),
    ]
    write_eval(tmp_path, "Toy", rows, {"Toy/a.jpg": A, "Toy/b.jpg": B})
    found = read_eval(tmp_path, "Toy", identity="picture")
    shown = Side(text="one", images=(A,)), Side(text="three", images=(B,))
    assert found.candidates == (*shown, Side(text="word"), Side(text="noun"))
    assert found.pools == ((0, 1, 2, 3), (1, 2, 0))
    both = read_eval(tmp_path, "Toy")
    assert (len(both.candidates), both.pools) == (6, ((0, 1, 2, 3, 4), (5, 3, 1)))


def test_a_list_that_repeats_the_right_candidate_has_it_once_and_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_eval(tmp_path, "Toy", [eval_row("q", "", ("b", ""), ("a", ""), ("b", ""), ("a", ""), ("b", ""))], {})
    with caplog.at_level("INFO"):
        assert read_eval(tmp_path, "Toy").pools == ((0, 1),)
    assert caplog.messages == ["Toy: candidates that repeat the right one of their row, and count once: 2"]


def malformed(name: str) -> pa.Table:
    """A sound row and, behind it, one with something wrong."""
    kinds = {each: pa.list_(pa.string()) if each.startswith("tgt") else pa.string() for each in COLUMNS}
    columns: dict[str, list[Any]] = {each: [["a", "b"]] * 2 if each.startswith("tgt") else ["x"] * 2 for each in COLUMNS}
    columns |= {"qry_img_path": [""] * 2, "tgt_img_path": [["", ""]] * 2}
    changes = {
        "fewer pictures": ("tgt_img_path", [""]),
        "fewer instructions": ("tgt_inst", ["x"]),
        "no candidates": ("tgt_text", []),
        "a missing list": ("tgt_text", None),
        "a missing picture": ("qry_img_path", "Toy/none.jpg"),
    }
    if name in changes:
        column, value = changes[name]
        columns[column] = [columns[column][0], value]
    arrays = {each: pa.array(values, kinds[each]) for each, values in columns.items()}
    if name == "a number for a text":
        arrays["qry_text"] = pa.array([1, 2])
    if name == "a text for a list":
        arrays["tgt_text"] = pa.array(["a", "b"])
    if name == "bytes that are no UTF-8":
        words = [b"sound", b"caf\xe9"]
        offsets = np.array([0, 5, 9], dtype=np.int32)
        arrays["qry_text"] = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(b"".join(words)))
    return pa.table(arrays)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("fewer pictures", "row 1: tgt_text has 2 entries and tgt_img_path 1"),
        ("fewer instructions", "row 1: tgt_text has 2 entries and tgt_inst 1"),
        ("no candidates", "row 1: tgt_text has 0 entries and tgt_img_path 2"),
        ("a missing list", "row 1: tgt_text has 0 entries and tgt_img_path 2"),
        ("a missing picture", r"row 1: images\.zip has no member Toy/none\.jpg"),
        ("a number for a text", "column qry_text holds int64, not texts"),
        ("a text for a list", "column tgt_text holds string, not lists of texts"),
        ("bytes that are no UTF-8", "row 1: column qry_text is not valid UTF-8"),
    ],
)
def test_a_malformed_row_is_one_line(tmp_path: Path, name: str, complaint: str) -> None:
    write_eval(tmp_path, "Toy", [eval_row("q", "", ("a", ""))], {"Toy/a.jpg": A})
    pq.write_table(malformed(name), tmp_path / "MMEB-eval" / "Toy" / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"Toy/test-00000-of-00001\.parquet: " + complaint) as error:
        read_eval(tmp_path, "Toy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["context", "qry_image", "split"])
def test_a_column_that_could_change_what_is_measured_is_refused(tmp_path: Path, name: str) -> None:
    rows = [eval_row("q", "", ("a", "")) | {name: "Represent the given image"}]
    write_eval(tmp_path, "Toy", rows, {})
    with pytest.raises(DataError, match=rf"parquet: column {name} is not read, and could change what is measured; "):
        read_eval(tmp_path, "Toy")


def test_numbers_and_notes_of_rows_are_passed_over(tmp_path: Path) -> None:
    row = eval_row("q", "", ("a", ""))
    write_eval(tmp_path, "Toy", [row], {})
    plain = read_eval(tmp_path, "Toy")
    write_eval(tmp_path, "Toy", [row | {"id": 7, "source": "COCO", "__index_level_0__": 3}], {})
    assert read_eval(tmp_path, "Toy") == plain


LISTS = [
    pa.list_(pa.string(), 2),
    pa.large_list(pa.large_string()),
    pa.list_(pa.dictionary(pa.int32(), pa.string())),
    pa.list_view(pa.string()),
    pa.large_list_view(pa.string_view()),
]


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_candidates_may_be_stored_as_any_lists(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [eval_row(IMAGE + "q", "Toy/a.jpg", ("a", ""), ("b", "Toy/b.jpg")), eval_row("r", "", ("c", ""), ("d", ""))]
    write_eval(tmp_path, "Toy", rows, {"Toy/a.jpg": A, "Toy/b.jpg": B})
    plain, file = read_eval(tmp_path, "Toy"), tmp_path / "MMEB-eval" / "Toy" / "test-00000-of-00001.parquet"
    columns = {name: pa.array([row[name] for row in rows], kind if name.startswith("tgt") else pa.string()) for name in rows[0]}
    pq.write_table(pa.table(columns), file)
    assert read_eval(tmp_path, "Toy") == plain


def test_pictures_of_a_benchmark_may_stand_in_the_table(tmp_path: Path) -> None:
    """As `datasets` writes features of kind Image, on either side."""
    rows = [eval_row(IMAGE + "q", "Toy/a.jpg", ("a", ""), ("b", "Toy/b.jpg"))]
    write_eval(tmp_path, "Toy", rows, {"Toy/a.jpg": A, "Toy/b.jpg": B})
    plain = read_eval(tmp_path, "Toy")
    stored = {"qry_img_path": {"bytes": A, "path": "x"}, "tgt_img_path": [None, {"bytes": None, "path": "Toy/b.jpg"}]}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.Table.from_pylist([rows[0] | stored])
    places = {"qry_img_path": kind, "tgt_img_path": pa.list_(kind)}
    for name, wanted in places.items():
        table = table.set_column(table.schema.names.index(name), name, pa.array([stored[name]], wanted))
    pq.write_table(table, tmp_path / "MMEB-eval" / "Toy" / "test-00000-of-00001.parquet")
    assert read_eval(tmp_path, "Toy") == plain


def test_describe(tmp_path: Path) -> None:
    assert describe(tmp_path, "ImageNet_1K") == describe(tmp_path, "ImageNet-1K") == DatasetInfo("classification", "IND")
    assert describe(tmp_path, "Mine") == DatasetInfo("other", "IND")
    own = tmp_path / "MMEB-eval" / "datasets.json"
    own.parent.mkdir()
    own.write_text(json.dumps({"Mine": {"meta_task": "vqa", "split": "OOD"}, "OVEN": {"meta_task": "vqa", "split": "IND"}}))
    assert describe(tmp_path, "Mine") == DatasetInfo("vqa", "OOD")
    assert describe(tmp_path, "OVEN") == DatasetInfo("retrieval", "OOD")
    own.write_bytes(b"\xef\xbb\xbf" + own.read_bytes())
    assert describe(tmp_path, "Mine") == DatasetInfo("vqa", "OOD"), "Windows' editors put a byte order mark in front"
    for broken in ("[]", '{"Mine": {"meta_task": "vqa", "split": "ood"}}', '{"Mine": {"meta_task": ["vqa"], "split": "IND"}}'):
        own.write_text(broken)
        with pytest.raises(DataError, match=r"datasets\.json: not of the form"):
            describe(tmp_path, "Mine")


def test_real_eval_sets_come_back_exactly(real_mini: Path) -> None:
    """Every text and picture of real-mini's evaluation, against the files themselves."""
    archive = zipfile.ZipFile(real_mini / "MMEB-eval" / "images.zip")
    names = eval_datasets(real_mini)
    assert len(names) == 9
    for name in names:
        rows = pq.read_table(real_mini / "MMEB-eval" / name / "test-00000-of-00001.parquet").to_pylist()
        found = read_eval(real_mini, name)
        assert len(found.queries) == len(found.pools) == len(rows)
        for row, query, pool in zip(rows, found.queries, found.pools, strict=True):
            wanted = list(dict.fromkeys(zip(row["tgt_text"], row["tgt_img_path"], strict=True)))
            sides = [query, *(found.candidates[index] for index in pool)]
            for (text, path), side in zip([(row["qry_text"], row["qry_img_path"]), *wanted], sides, strict=True):
                assert side.instruction + side.text == text
                assert side.images == ((archive.read(path),) if path else ())


def test_folder_of_the_benchmark_serves_as_well(tmp_path: Path) -> None:
    write_eval(tmp_path, "Toy", [eval_row("q", "Toy/a.jpg", ("a", ""))], {})
    (tmp_path / "MMEB-eval" / "images.zip").unlink()
    (tmp_path / "MMEB-eval" / "images" / "Toy").mkdir(parents=True)
    (tmp_path / "MMEB-eval" / "images" / "Toy" / "a.jpg").write_bytes(A)
    assert read_eval(tmp_path, "Toy").queries[0].images == (A,)
