"""The words that a judge is asked with. They are our own, in the form of VLMEvalKit's and MM-Vet's prompts.

Scores of judges compare only between runs with the same judge and the same `VERSION`.
"""

import re
from collections.abc import Mapping

from eval.questions import QuestionRow

VERSION = 1

_CJK = re.compile("[\u4e00-\u9fff]")

_CHOICE = """Somebody answered a multiple-choice question in free words. Say which option the words mean.
Reply with the letter of the option alone. If the words mean none of the options, or refuse to answer, reply Z.

Example 1
Question: What stands on the shelf?
Options: A. a globe B. a teapot C. a candle D. a clock
Answer: It is a round model of the earth.
Reply: A

Example 2
Question: What stands on the shelf?
Options: A. a globe B. a teapot C. a candle D. a clock
Answer: A bicycle.
Reply: Z

Now yours
Question: {question}
Options: {options}
Answer: {answer}
Reply: """

_CHOICE_CHINESE = """有人用自由的文字回答了一道选择题。请判断这些文字指的是哪个选项。
只回复该选项的字母。如果这些文字不指任何选项,或拒绝回答,请回复 Z。

例一
问题: 架子上放着什么?
选项: A. 地球仪 B. 茶壶 C. 蜡烛 D. 时钟
回答: 是一个圆形的地球模型。
回复: A

例二
问题: 架子上放着什么?
选项: A. 地球仪 B. 茶壶 C. 蜡烛 D. 时钟
回答: 一辆自行车。
回复: Z

现在请判断
问题: {question}
选项: {options}
回答: {answer}
回复: """

_YES_NO = """Somebody answered a yes-or-no question in free words. Say whether the words mean yes or no.
Reply with one word: Yes, No, or Unknown where they mean neither.

Example 1
Question: Is there a boat in the picture?
Answer: A small boat lies at the shore.
Reply: Yes

Example 2
Question: Is the left bar taller than the right one?
Answer: Both have the same height.
Reply: No

Now yours
Question: {question}
Answer: {answer}
Reply: """

_SCORE = """Say how right a prediction is, given what is true. In the ground truth, <AND> means that the prediction must have
all of the parts, and <OR> that any one of them is enough. Correctness goes from 0.0 (wrong) to 1.0 (right) in steps of 0.1.
Fill in the last, empty place with the number alone.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
Which values solve the equation? | 4 <AND> -2 | x = 4 | 0.5
Which values solve the equation? | 4 <AND> -2 | x = 2 | 0.0
Which values solve the equation? | 4 <AND> -2 | x = -2 or x = 4 | 1.0
Which values solve the equation? | 4 <OR> four | four | 1.0
Which values solve the equation? | 4 <AND> -2 | There are two: 4 and 2. | 0.5
Why is the sign funny? | It allows swimming <AND> it stands in a desert | There is a sign. | 0.0
Why is the sign funny? | It allows swimming <AND> it stands in a desert | It invites you to swim where there is only sand. | 1.0

{question} | {truth} | {prediction} | """


def choice_words(row: QuestionRow, options: Mapping[str, str], prediction: str) -> str:
    """What is asked about an answer to a choice; in Chinese where the question is."""
    shown = " ".join(f"{label}. {text}" for label, text in options.items())
    wording = _CHOICE_CHINESE if _CJK.search(row.question) else _CHOICE
    return _filled(wording, question=row.question, options=shown, answer=prediction)


def yes_no_words(row: QuestionRow, prediction: str) -> str:
    """What is asked about an answer to a yes/no question."""
    return _filled(_YES_NO, question=row.question, answer=prediction)


def score_words(row: QuestionRow, prediction: str) -> str:
    """What is asked about free words: a table whose last place is empty."""
    truth = row.answer.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    return _filled(_SCORE, question=row.question, truth=" ".join(truth.split()), prediction=prediction)


def _filled(wording: str, **values: str) -> str:
    """The wording with its places filled once: braces in a value are text."""
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], wording)
