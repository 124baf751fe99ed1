"""Mutants of what reads corpora, benchmarks and pictures."""

from tests.mutants.mutant import Mutant

EVAL = ("tests/pipeline/data/test_mmeb_eval.py",)
TSV = ("tests/eval/test_tsv.py",)
NAMES = ("tests/pipeline/data/test_pictures.py",)
FATES = ("tests/data_prep/test_picture_fates.py",)

MUTANTS = (
    Mutant(
        "instructions in columns of their own are dropped",
        "pipeline/data/mmeb_eval.py",
        'return f"{instruction}{text}" if instruction[-1].isspace() else f"{instruction} {text}"',
        "return text",
        EVAL,
    ),
    Mutant(
        "columns that nobody knows are passed over",
        "pipeline/data/parquet_rows.py",
        "if unknown and self.passed_over is not None:",
        "if False:",
        EVAL,
    ),
    Mutant(
        "an empty query is measured",
        "pipeline/data/mmeb_eval.py",
        '((query, "query"), ',
        "(",
        EVAL,
    ),
    Mutant(
        "an empty right candidate is measured",
        "pipeline/data/mmeb_eval.py",
        '(self._candidate(right), "right candidate")',
        "",
        EVAL,
    ),
    Mutant(
        "an empty wrong candidate leaves its pool",
        "pipeline/data/mmeb_eval.py",
        "for each in (right, *wrong)))",
        "for each in (right, *wrong) if not _is_empty(self._candidate(each))))",
        EVAL,
    ),
    Mutant(
        "a damaged picture of a benchmark has no row",
        "pipeline/data/mmeb_eval.py",
        'f"{row.file}: row {row.row}: {error}; download the benchmark again"',
        'f"{error}; download the benchmark again"',
        EVAL,
    ),
    Mutant(
        "pictures of benchmarks are encoded again",
        "pipeline/data/picture_preparer.py",
        "if self.keeps_files and picture.format in SUFFIXES:",
        "if False:",
        EVAL,
    ),
    Mutant(
        "fixed-size lists are no lists",
        "pipeline/data/parquet_rows.py",
        "(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)",
        "(pa.types.is_list, pa.types.is_large_list)",
        EVAL,
    ),
    Mutant(
        "pictures inside of lists stay structs",
        "pipeline/data/parquet_rows.py",
        "    if isinstance(value, list):\n        return [_plain(item) for item in value]\n",
        "",
        EVAL,
    ),
    Mutant(
        "files of macOS are taken for data",
        "pipeline/data/release_files.py",
        'if not path.name.startswith(".") and path.name not in _FOREIGN',
        "if True",
        ("tests/pipeline/data/test_mmeb.py",),
    ),
    Mutant(
        "a wrong checksum beside the pixels costs the picture",
        "pipeline/data/png_chunks.py",
        "if chunk.is_needed and not chunk.is_sound:",
        "if not chunk.is_sound:",
        FATES,
    ),
    Mutant(
        "a wrong checksum of the pixels is passed over",
        "pipeline/data/png_chunks.py",
        " and zlib.crc32(self.whole[4:-4]) == stored",
        "",
        FATES,
    ),
    Mutant(
        "long texts cost the picture",
        "pipeline/data/png_chunks.py",
        "if chunk.is_sound and size < MAX_TEXT_BYTES and",
        "if chunk.is_sound and",
        FATES,
    ),
    Mutant(
        "a missing end stays missing",
        "pipeline/data/png_chunks.py",
        "if has_flaws or not has_end else encoded",
        "if has_flaws else encoded",
        FATES,
    ),
    Mutant(
        "a text of 20,000 words takes its time without a word",
        "pipeline/encode/share.py",
        "        if count:\n",
        "        if False:\n",
        ("tests/pipeline/encode/test_encode.py",),
    ),
    Mutant(
        "accents are not put together",
        "pipeline/data/picture_names.py",
        'unicodedata.normalize("NFC", "/".join(parts))',
        '"/".join(parts)',
        NAMES,
    ),
    Mutant(
        "backslashes are letters",
        "pipeline/data/picture_names.py",
        'name.replace("\\\\", "/").split("/")',
        'name.split("/")',
        NAMES,
    ),
    Mutant(
        "the old code page is believed",
        "pipeline/data/picture_names.py",
        "{normal(name), normal(_undone_cp437(name))}",
        "{normal(name)}",
        NAMES,
    ),
    Mutant(
        "one of two members of a spelling is taken",
        "pipeline/data/pictures.py",
        " or _doubled(members, by_name=False)",
        "",
        NAMES,
    ),
    Mutant(
        "one of two files of a spelling is taken",
        "pipeline/data/pictures.py",
        "if len(found) > 1:",
        "if False:",
        NAMES,
    ),
    Mutant(
        "no like name is shown",
        "pipeline/data/pictures.py",
        """return f"; it has {near[:MAX_SHOWN]!r}" if near else \"\"""",
        'return ""',
        NAMES,
    ),
    Mutant(
        "an open quote swallows rows",
        "eval/tsv.py",
        ", strict=True)\n            columns",
        ")\n            columns",
        TSV,
    ),
    Mutant(
        "the last missing picture is told as the first",
        "pipeline/data/picture_count.py",
        "self.first_missing = self.first_missing or f",
        "self.first_missing = f",
        ("tests/data_prep/test_check_inputs.py",),
    ),
)
