"""Fuzzing of the readers: seeded damage to zips, tables, JSON files and pictures, within 1 GiB of memory.

`python -m tests.fuzz_inputs --count 2000 --page docs/fuzzing.md` damages as many files and writes down what became of them.
Each is read in a process of its own kind, so that a crash of a library is found and named by its seed. Exit code 1 where
anything but the known fates was met.
"""

import argparse
import io
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data import mmeb, mmeb_eval, sharegpt4v
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import Reject, RowError
from pipeline.data.shard_format import members
from pipeline.errors import DataError
from pipeline.sample import Sample
from tests.data_prep.damage import JSON, PAIRS, TABLE, TALKS, ZIP, write_sound
from tests.pipeline.data.releases import picture, write_eval

MEMORY = 2**30
MAX_PIXELS = 2000
EVAL_TABLE = "MMEB-eval/Toy/test-00000-of-00001.parquet"
FORMS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
FATES = ("sound", "changed", "rejected", "refused")
"""Nothing lost; a text or pixel differs where no checksum guards it; rows counted as rejects; one error for the whole file."""

Items = list[Sample | Reject]
SLOW = 30.0
"""Seconds of the processor that no file may need."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed. A fate outside of FATES is a failure, and `detail` tells of it."""

    seed: int
    target: str
    fate: str
    seconds: float = 0.0
    detail: str = ""


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bytes flipped, set to extremes, cut out, repeated or zeroed, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, max(1, len(changed))))
        if rng.random() < 0.4:
            # Heads and directories are where the sizes stand.
            near = int(rng.integers(0, 200))
            place = min(near, len(changed)) if rng.random() < 0.5 else max(0, len(changed) - near)
        length = int(rng.choice([1, 1, 1, 2, 4, 8, 64, 512]))
        changed = _changed(changed, place, length, rng)
    return bytes(changed)


def _changed(data: bytearray, place: int, length: int, rng: np.random.Generator) -> bytearray:
    head, middle, tail = data[:place], data[place : place + length], data[place + length :]
    match int(rng.integers(0, 7)):
        case 0 | 1:
            return head + bytes(byte ^ (1 << int(rng.integers(0, 8))) for byte in middle) + tail
        case 2:
            return head + rng.integers(0, 256, len(middle), dtype=np.uint8).tobytes() + tail
        case 3:
            return head + bytes([rng.choice([0, 0x7F, 0xFF])]) * len(middle) + tail
        case 4:
            return head + tail
        case 5:
            return head + middle * 2 + tail
    return head if rng.random() < 0.3 else data


class Bench:
    """A sound folder of which one file at a time is damaged and read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_sound(root)
        rows = [
            {"qry_text": f"q{n}", "qry_img_path": "Toy/0.jpg", "tgt_text": [f"t{n}", "x"], "tgt_img_path": ["", ""]}
            for n in range(9)
        ]
        write_eval(root, "Toy", rows, {"Toy/0.jpg": picture(0)})
        # As releases are written: compressed, with dictionaries, without checksums.
        pq.write_table(pq.read_table(root / TABLE), root / TABLE, row_group_size=3)
        self.sound = {name: (root / name).read_bytes() for name in (ZIP, TABLE, JSON, EVAL_TABLE)}
        self.pairs, self.talks, self.benchmark = self._read_pairs(), self._read_talks(), mmeb_eval.read_eval(root, "Toy")

    def run(self, seed: int) -> Outcome:
        """Damage the file that a seed chooses, and read it."""
        rng = np.random.default_rng(seed)
        name, check = list(self._checks().items())[seed % 5]
        begun = time.process_time()
        try:
            fate = check(rng)
        except DataError as error:
            fate = "refused" if "\n" not in str(error) else f"more than a line: {error}"
        except AssertionError as error:
            fate = f"broken promise: {error}"
        except BaseException as error:  # noqa: BLE001 - whatever comes out is what the fuzzer looks for
            fate = f"traceback: {type(error).__name__}: {error}"
        seconds = time.process_time() - begun
        known = fate in FATES and seconds < SLOW
        return Outcome(seed, name, fate if known else "failed", round(seconds, 3), "" if known else f"{fate} ({seconds:.0f} s)")

    def _checks(self) -> dict[str, Callable[[np.random.Generator], str]]:
        return {
            "zip": self._zip,
            "table": self._table,
            "JSON": self._json,
            "evaluation table": self._eval,
            "picture": self._picture,
        }

    def _zip(self, rng: np.random.Generator) -> str:
        with self._damage(ZIP, rng):
            found = self._read_pairs()
        fate = _compare(found, self.pairs)
        assert fate != "changed", "a member came back changed in spite of its checksum"
        return fate

    def _table(self, rng: np.random.Generator) -> str:
        with self._damage(TABLE, rng):
            return _compare(self._read_pairs(), self.pairs)

    def _eval(self, rng: np.random.Generator) -> str:
        with self._damage(EVAL_TABLE, rng):
            found = mmeb_eval.read_eval(self.root, "Toy")
        assert len(found.queries) == len(found.pools) == len(self.benchmark.queries), "queries lost"
        return "sound" if found == self.benchmark else "changed"

    def _json(self, rng: np.random.Generator) -> str:
        with self._damage(JSON, rng) as place:
            found = []
            try:
                for item in self._talks():
                    found.append(item)
            finally:
                untouched = self.sound[JSON][:place].count(b"}]}")
                assert found[:untouched] == self.talks[:untouched], "a row before the damage differs"
        # Whole rows may be repeated or cut out between commas: then it is another sound file.
        return _compare(found, self.talks) if len(found) == TALKS else "changed"

    def _picture(self, rng: np.random.Generator) -> str:
        form = FORMS[int(rng.integers(0, len(FORMS)))]
        size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
        encoded = picture(int(rng.integers(0, 99)), size=size, form=form)
        sound = PicturePreparer(max_pixels=MAX_PIXELS)(encoded)
        try:
            found = PicturePreparer(max_pixels=MAX_PIXELS)(damaged(encoded, rng))
        except RowError:
            return "rejected"
        with Image.open(io.BytesIO(found)) as image:
            image.load()
            assert image.format in ("JPEG", "PNG", "MPO"), image.format
            assert image.width * image.height <= MAX_PIXELS, image.size
        return "sound" if found == sound else "changed"

    def _damage(self, name: str, rng: np.random.Generator) -> "_Damage":
        return _Damage(self.root / name, self.sound[name], damaged(self.sound[name], rng))

    def _read_pairs(self) -> Items:
        items = list(mmeb.read_train(self.root, "Toy", prepare=PicturePreparer(max_pixels=MAX_PIXELS)))
        _write(items)
        return items

    def _talks(self) -> Iterator[Sample | Reject]:
        images = self.root / "conversations" / "images.zip"
        return sharegpt4v.read(self.root / JSON, images, prepare=PicturePreparer(max_pixels=MAX_PIXELS))

    def _read_talks(self) -> Items:
        items = list(self._talks())
        _write(items)
        return items


class _Damage:
    """Within the block a file is damaged; its value is the first byte that differs."""

    def __init__(self, path: Path, sound: bytes, broken: bytes) -> None:
        self._path, self._sound, self._broken = path, sound, broken

    def __enter__(self) -> int:
        self._path.write_bytes(self._broken)
        pairs = enumerate(zip(self._sound, self._broken, strict=False))
        return next((place for place, (old, new) in pairs if old != new), min(len(self._sound), len(self._broken)))

    def __exit__(self, *_: object) -> None:
        self._path.write_bytes(self._sound)


def _write(items: Items) -> None:
    """Form what a shard would hold: a sample that reads well must also be written well."""
    for item in items:
        if isinstance(item, Sample):
            members(item)


def _compare(found: Items, sound: Items) -> str:
    assert len(found) == len(sound), f"{len(found)} rows came of {len(sound)}"
    assert [item.key for item in found] == [item.key for item in sound], "keys differ"
    if any(isinstance(item, Reject) for item in found):
        return "rejected"
    return "sound" if found == sound else "changed"


def work(first: int, last: int) -> None:
    """Print an outcome as a line of JSON for each seed, within the memory limit."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        assert (len(bench.pairs), len(bench.talks)) == (PAIRS, TALKS)
        for seed in range(first, last):
            print(json.dumps(asdict(bench.run(seed))), flush=True)


def outcomes(first: int, last: int) -> Iterator[Outcome]:
    """Outcomes of seeds in order. A process that dies is a failure of the seed that it was at; the next goes on behind it."""
    while first < last:
        command = [sys.executable, "-m", "tests.fuzz_inputs", "--first", str(first), "--last", str(last), "--work"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            yield Outcome(**json.loads(line))
            first += 1
        if first < last:
            yield Outcome(first, "", "failed", 0.0, f"the process died ({done.returncode}): {done.stderr[-200:]!r}")
            first += 1


def page(found: list[Outcome], seconds: float) -> str:
    """What became of the seeds, as a page of the documentation."""
    counts = Counter((item.target, item.fate) for item in found)
    targets = sorted({item.target for item in found})
    rows = [f"| {name} | " + " | ".join(str(counts[name, fate]) for fate in (*FATES, "failed")) + " |" for name in targets]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    slowest = max(item.seconds for item in found)
    return "\n".join([
        "# Fuzzing of the readers",
        "",
        "Written by the program itself; do not edit.",
        "",
        "```sh",
        f"python -m tests.fuzz_inputs --count {len(found)} --page docs/fuzzing.md",
        "```",
        "",
        f"{len(found)} files with seeded damage, {counts_of(found, 'failed')} failures: no traceback, no crash, no row lost.",
        f"Address space limited to {MEMORY // 2**20} MiB; at most {peak:.0f} MiB were resident. {seconds:.0f} s in all,",
        f"the slowest file {slowest:.1f} s.",
        f"Python {platform.python_version()}, pyarrow {pa.__version__}, Pillow {PIL.__version__}.",
        "",
        "| file | sound | changed | rejected | refused | failed |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "- **sound**: everything came back as from the undamaged file.",
        "- **changed**: a text or a pixel differs and nothing in the file guards it: JSON and JPEG have no checksums, and the",
        "  tables here are written without those of pages, as the releases are. A zip never gives back a changed member.",
        "- **rejected**: rows are left out, each with its reason; the number of rows is that of the sound file.",
        "- **refused**: the file is unusable as a whole, and one line says so.",
        "",
    ])  # fmt: skip


def counts_of(found: list[Outcome], fate: str) -> int:
    """How many have a fate."""
    return sum(item.fate == fate for item in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--last", type=int, help="the seed behind the last")
    parser.add_argument("--count", type=int, default=200, help="how many files, where --last is not given")
    parser.add_argument("--page", type=Path, help="write the results to this page")
    parser.add_argument("--work", action="store_true", help="print an outcome a line (what the program calls itself with)")
    chosen = parser.parse_args()
    last = chosen.last or chosen.first + chosen.count
    if chosen.work:
        work(chosen.first, last)
        return 0
    begun = time.monotonic()
    found = list(outcomes(chosen.first, last))
    failures = [item for item in found if item.fate == "failed"]
    for item in failures:
        print(f"seed {item.seed} ({item.target}): {item.detail}")
    print(", ".join(f"{fate} {counts_of(found, fate)}" for fate in (*FATES, "failed")))
    if chosen.page and not failures:
        chosen.page.write_text(page(found, time.monotonic() - begun), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
