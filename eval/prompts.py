"""The words that a question is asked with. The default follows Qwen2-VL's prompts, in the native and the compressed setting."""

import re

from eval.tsv import QuestionRow
from pipeline.errors import ConfigError

STYLES = ("qwen2-vl", "default")

_CHOOSE = "Please select the correct answer from the options above."
_CHOOSE_CHINESE = "请直接回答选项字母。"
_SAY_YES_OR_NO = " Please answer yes or no."
_CJK = re.compile("[\u4e00-\u9fff]")


def prompt(row: QuestionRow, style: str) -> str:
    """The question text that follows the pictures. Raises ConfigError for an unknown style.

    `qwen2-vl` ends without white space, asks in Chinese where the prompt holds Chinese, and asks for yes or no in words;
    `default` is VLMEvalKit's own wording.
    """
    if style not in STYLES:
        raise ConfigError(f"prompt style {style!r}: unknown; there are {', '.join(STYLES)}")
    if row.kind == "yes_no":
        return row.question + (_SAY_YES_OR_NO if style == "qwen2-vl" else "")
    lines = [f"Hint: {row.hint}"] if row.hint else []
    lines += [f"Question: {row.question}", "Options:", *(f"{label}. {text}" for label, text in row.options.items())]
    body = "\n".join(lines) + "\n"
    if style == "default":
        return f"{body}{_CHOOSE} \n"
    return (body + (_CHOOSE_CHINESE if _CJK.search(body) else _CHOOSE)).rstrip()
