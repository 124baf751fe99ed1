"""A whole HTML page in one file: no outside file, readable with the network cut, in light and dark, on small screens.

The one script, which filters and enlarges, is named by its hash in the page's own policy: nothing else can run.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.report_markup import Section, percent

_TEMPLATES = Path(__file__).with_name("templates")
_DASH = "–"


def page_of(title: str, sections: Sequence[Section], *, notice: str = "", cards: str = "", has_script: bool = False) -> str:
    """A whole page: title, notice, contents, finished cards, sections. `has_script`: its pictures and lists can be used."""
    script = _file("page.js") if has_script else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "page.html.j2",
        {
            "title": title,
            "notice": notice,
            "cards": Markup(cards),
            "sections": sections,
            "style": Markup(_file("page.css")),
            "script": Markup(script),
            "script_source": f"'sha256-{digest}'" if script else "'none'",
        },
    )


def render(template: str, values: Mapping[str, object]) -> str:
    """A template of ours with values. Whatever is not `Markup` is escaped; a name that is not given is an error."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["percent"] = percent
    found.globals["DASH"] = _DASH
    return found


def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
