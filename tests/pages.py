"""The documentation as data: pages, their code blocks and tables, for the tests that hold them against the code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *DECISIONS,
]
README = (ROOT / "README.md").read_text()
USE, DATA = ((ROOT / "docs" / name).read_text() for name in ("use.md", "data.md"))


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def lines_between(name: str) -> str:
    """The Python lines of the documentation that stand between the markers of a name."""
    text = "".join(page.read_text() for page in PAGES)
    (block,) = re.findall(rf"<!-- {name}: begin -->\n```python\n(.*?)```\n<!-- {name}: end -->", text, re.DOTALL)
    return str(block)


def table(text: str, first: str) -> list[dict[str, str]]:
    """Rows of the table whose first heading is `first`, by heading."""
    match = re.search(rf"^\| {re.escape(first)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert match, f"no table of {first}"
    heads = cells(match[0].splitlines()[0])
    return [dict(zip(heads, cells(line), strict=True)) for line in match[1].splitlines()]


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
