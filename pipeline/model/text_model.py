"""A causal language model of a folder that answers in words: the judge that needs no server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import CheckpointError
from pipeline.model.device import Dtype, device_of

DTYPES: dict[Dtype, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model with its tokenizer; asked through its chat template where it has one."""

    model: Any
    tokenizer: Any

    @staticmethod
    def load(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32") -> "TextModel":
        """Read a folder; nothing is fetched and no code of it runs. Raises CheckpointError for one that is no language model."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=DTYPES[dtype])
        except (OSError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{folder}: no language model that transformers can load ({said})") from error
        return TextModel(model.to(device_of(device)).eval(), tokenizer)

    @torch.no_grad()
    def complete(self, text: str, *, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> str:
        """What the model says to a text, white space around it removed; at temperature 0 what it finds most likely."""
        words, has_template = text, bool(self.tokenizer.chat_template)
        if has_template:
            turn = [{"role": "user", "content": text}]
            words = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        given = self.tokenizer(words, return_tensors="pt", add_special_tokens=not has_template).to(self.model.device)
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            out = self.model.generate(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=max_tokens, **drawn
            )
        return str(self.tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
