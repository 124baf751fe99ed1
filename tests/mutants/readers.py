"""Mutants of what reads corpora, benchmarks and pictures."""

from tests.mutants.mutant import Mutant

EVAL = ("tests/pipeline/data/test_mmeb_eval.py",)
FATES = ("tests/data_prep/test_picture_fates.py",)

MUTANTS = (
    Mutant(
        "instructions in columns of their own are dropped",
        "pipeline/data/mmeb_eval.py",
        'passed_over=("id", ',
        'passed_over=("qry_inst", "tgt_inst", "id", ',
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
        "for each in (right, *wrong) if not is_empty(self._candidate(each))))",
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
        "if chunk.is_needed and not chunk.is_sound:",
        "if False:",
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
)
