"""The benchmark of the conversion runs, and its loops write what the conversion writes."""

import tarfile
from pathlib import Path

from click.testing import CliRunner

from benchmarks.convert import main
from benchmarks.convert_loops import NAME, bare_loop, drawn_pictures, nothing, resized, write_corpus
from data_prep.convert import Conversion, convert
from pipeline.data.picture_preparer import PicturePreparer


def test_it_prints_its_tables() -> None:
    done = CliRunner().invoke(main, ["--rows", "6", "--side", "48", "--repeats", "1", "--max-pixels", "600", "--no-memory"])
    assert done.exit_code == 0, done.output
    assert [line.split("|")[1].strip() for line in done.output.splitlines() if line.startswith("| ")] == [
        *("conversion", "verified", "not verified", "resized"),
        *("reader", "WebDataset, sequential", "index, in order", "index, at random"),
    ]


def test_the_bare_loop_writes_the_pictures_that_the_conversion_writes(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", drawn_pictures(3, 48), 5)
    convert(Conversion(data=tmp_path / "data", out=tmp_path / "out"))
    bare_loop(tmp_path / "data", tmp_path / "bare.tar", nothing)

    def pictures(path: Path) -> list[bytes]:
        with tarfile.open(path) as tar:
            return [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]  # type: ignore[union-attr]

    assert pictures(tmp_path / "bare.tar") == pictures(tmp_path / "out" / NAME.lower() / f"{NAME.lower()}-00000.tar")


def test_the_loop_that_shrinks_does_what_the_conversion_does() -> None:
    (drawn,) = drawn_pictures(1, 96)
    assert resized(900)(drawn) == PicturePreparer(max_pixels=900)(drawn)
