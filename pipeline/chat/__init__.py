"""Chat models: behind OpenAI-compatible endpoints (that is how vLLM serves a vision-language model), or in this process.

`request` is what is asked, `reply` what comes back, `journal` keeps answers. `engine` asks many of several endpoints, `local`
a model of this process.
"""

from pipeline.chat.address import KEY_VARIABLE, checked_key, key_from_environment
from pipeline.chat.caller import NO_LOGPROBS, REFUSED, UNANSWERED, Patience, Totals
from pipeline.chat.endpoints import EndpointList
from pipeline.chat.engine import ChatEngine
from pipeline.chat.journal import Failed, Journal
from pipeline.chat.local import AnsweringModel, LocalEngine
from pipeline.chat.reply import CUT_ENDS, Answer
from pipeline.chat.request import MAX_ANSWER_TOKENS, ChatRequest, Sampling, content_key, data_uri
from pipeline.chat.scripts import Script

__all__ = [
    "CUT_ENDS",
    "KEY_VARIABLE",
    "MAX_ANSWER_TOKENS",
    "NO_LOGPROBS",
    "REFUSED",
    "UNANSWERED",
    "Answer",
    "AnsweringModel",
    "ChatEngine",
    "ChatRequest",
    "EndpointList",
    "Failed",
    "Journal",
    "LocalEngine",
    "Patience",
    "Sampling",
    "Script",
    "Totals",
    "checked_key",
    "content_key",
    "data_uri",
    "key_from_environment",
]
