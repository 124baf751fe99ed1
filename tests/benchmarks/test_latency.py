"""The latency benchmark runs for every family, and its visual tokens are the paper's."""

from click.testing import CliRunner

from benchmarks import latency


def test_tokens_and_ratios_are_printed_by_family_and_shrinker() -> None:
    done = CliRunner().invoke(latency.main, ["--hidden", "32", "--layers", "1", "--repeats", "1"])
    assert done.exit_code == 0, done.output
    cells = [line.strip("| ").split(" | ") for line in done.output.splitlines() if line.startswith("| ") and ", " in line]
    tokens = {name: [int(cell.split("(")[1].split(")")[0]) for cell in given] for name, *given in cells}
    assert set(tokens) == {f"{family}, {kind}" for family in latency.FAMILIES for kind in ("KeepAll", "Bilinear")}
    assert tokens["internvl, KeepAll"] == [256, 256, 1280] and tokens["internvl, Bilinear"] == [64, 64, 320]
    assert tokens["qwen2_vl, KeepAll"] == [256, 256, 1024] and tokens["qwen3_vl, Bilinear"] == [64, 64, 256]
    assert done.output.count("times as fast") == len(latency.FAMILIES)
