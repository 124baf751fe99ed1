"""What a finished run tells at the end: one table of retrieval scores, and where to look next."""

import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval import mmeb, reconstruct, retrieval_set
from eval.benchmarks.registry import average_text
from eval.results import read_result
from eval.run_report.figures import answer_means, mean_cache_share
from eval.run_report.measured import read_results
from eval.vlm_result import VlmResult
from jobs.evaluate import FEWER, TRAINED, UNTRAINED
from jobs.stage import Context
from pipeline.tracking import OFFLINE, redact

GROUPS = ("classification", "vqa", "retrieval", "grounding", "other", "IND", "OOD", "overall")
FIRST_PORT, LAST_PORT = 5000, 5099


def result_table(evaluation: Path, fewer: Sequence[int] = ()) -> str:
    """P@1 in percent by meta-task and overall: chance, the untrained model, the trained one, and it with blank pictures.

    `fewer` are numbers of compression tokens of which the trained model has a line of its own.
    """
    files = {
        "untrained": evaluation / UNTRAINED / retrieval_set.RESULT_NAME,
        **{f"trained, {count} tokens": evaluation / FEWER.format(count) / retrieval_set.RESULT_NAME for count in fewer},
        "trained": evaluation / TRAINED / retrieval_set.RESULT_NAME,
        "trained, blank pictures": evaluation / TRAINED / retrieval_set.BLANK_RESULT_NAME,
    }
    results = {name: read_result(mmeb.MmebResult, path) for name, path in files.items() if path.is_file()}
    if "trained" not in results:
        return "P@1: not measured; crem evaluate --only retrieval measures it"
    trained = results["trained"]
    names = [name for name in GROUPS if name in trained.groups]
    lines = [_line("P@1, %", {name: name for name in names})]
    lines.append(_line("chance", {name: _percent(trained.groups[name].chance) for name in names}))
    for label in files:
        lines.append(_line(label, {name: _of_same_sets(results.get(label), trained, name) for name in names}))
    score = trained.overall
    interval = f"95 % interval {_percent(score.low)} to {_percent(score.high)}"
    return "\n".join([*lines, f"trained, overall: {interval}, {trained.size_of('overall').replace('sets', 'datasets')}"])


def token_table(evaluation: Path, elastic: Sequence[int]) -> str:
    """What each number of elastic tokens is worth, in percent: P@1 over all sets, and what is answered from the tokens alone.

    Answers are the mean of the benchmarks' own figures, with the picture's tokens and with another's; native ones need none.
    Texts are those written out again. Empty where there are no elastic tokens; a dash for what was not measured.
    """
    if not elastic:
        return ""
    folders = {count: evaluation / FEWER.format(count) for count in elastic[:-1]} | {elastic[-1]: evaluation / TRAINED}
    found = {f"{count} tokens": measured(folder) for count, folder in folders.items()}
    native = measured(evaluation / TRAINED).get("native")
    found["native"] = {} if native is None else {"answers": native}
    columns = ("P@1", "answers", "swapped", "texts")
    lines = [_line("by number of tokens, %", {name: name for name in columns})]
    for label, figures in found.items():
        lines.append(_line(label, {name: _percent(figures[name]) if name in figures else "-" for name in columns}))
    return "\n".join(lines)


def answer_lines(evaluation: Path) -> str:
    """What the trained model's answers are worth; empty where no question was asked.

    The mean of the six benchmarks by mode, what is left of native answers in those from the tokens alone, and how much of a
    context these keep.
    """
    results = read_results(evaluation / TRAINED)
    lines = []
    for mode in ("native", "compressed"):
        found = [(each.benchmark, each.headline) for each in results.questions.get(mode, {}).values()]
        lines += [f"{mode} answers: {text}" for text in [average_text(found)] if text]
    means = answer_means(results)
    if (native := means.get("native")) and "compressed" in means:
        left = f"{100 * means['compressed'] / native:.0f} % of native answers' quality"
        lines.append(f"from the tokens alone: {left} over the files of both; the CREM paper prints 83 % over its six")
    if (share := mean_cache_share(results.questions.get("compressed", {}))) is not None:
        lines.append(f"cache of an answer from the tokens alone: {100 * share:.2f} % of its context, SYSTEM not counted")
    return "\n".join(lines)


def measured(folder: Path) -> dict[str, float]:
    """Figures of a model's folder of results, as shares; what was not measured is not among them."""
    found: dict[str, float] = {}
    if (folder / retrieval_set.RESULT_NAME).is_file():
        found["P@1"] = read_result(mmeb.MmebResult, folder / retrieval_set.RESULT_NAME).overall.value
    for mode, name in (("native", "native"), ("compressed", "answers"), ("swapped", "swapped")):
        results = [read_result(VlmResult, path) for path in sorted(folder.glob(f"*-{mode}.json"))]
        scores = [result.headline.score.value for result in results if result.headline.score is not None]
        if scores:
            found[name] = sum(scores) / len(scores)
    if (folder / reconstruct.RESULT_NAME).is_file():
        found["texts"] = read_result(reconstruct.ReconstructResult, folder / reconstruct.RESULT_NAME).own.value
    return found


def _of_same_sets(result: mmeb.MmebResult | None, trained: mmeb.MmebResult, group: str) -> str:
    """A mean in percent; a dash where it was not measured over the sets that the trained model was measured on."""
    return _percent(result.groups[group].value) if result and result.is_over(trained, group) else "-"


def tracking_command(context: Context) -> str:
    """A command line that opens the MLflow UI on the runs; it can be pasted from any folder. It shows no password."""
    shown = redact(context.tracking)
    if shown == OFFLINE:
        return f"crem sync --work {shlex.quote(str(context.work))} --to http://HOST:5000"
    if shown.startswith(("http://", "https://")):
        return f"open {shown}"
    store = shlex.quote(shown) if shown == context.tracking else '"$MLFLOW_TRACKING_URI"'
    program = shlex.quote(str(Path(sys.executable).with_name("mlflow")))
    return f"MLFLOW_DISABLE_TELEMETRY=true {program} ui --backend-store-uri {store} --port {free_port()}"


def free_port() -> int:
    """The first port from 5000 on that nothing on the loopback interface listens on."""
    for port in range(FIRST_PORT, LAST_PORT + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _line(label: str, cells: Mapping[str, str]) -> str:
    return f"{label:<24}" + "".join(f"{cells[name]:>{max(len(name), 6) + 2}}" for name in cells)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
