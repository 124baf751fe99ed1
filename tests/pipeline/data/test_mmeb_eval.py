import io
import json
import zipfile
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("name", ["qry_inst", "tgt_inst", "context", "qry_image", "split"])
def test_a_column_that_could_change_what_is_measured_is_refused(tmp_path: Path, name: str) -> None:
    """The image part of MMEB-V2 keeps its instructions in columns of their own: unread, scores fell by 21 points of 68."""
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
