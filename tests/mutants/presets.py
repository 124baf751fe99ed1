"""Ways to read a published model as it was not trained."""

from tests.mutants.mutant import Mutant

PRESETS = ("tests/pipeline/test_presets.py",)
COMMAND = ("tests/eval/test_preset_command.py",)

MUTANTS = (
    Mutant(
        "counted positions are the model's own",
        "pipeline/preset_prompt.py",
        'kind = CountedSequence if self.preset.positions == "count" else TokenSequence',
        "kind = TokenSequence",
        PRESETS,
    ),
    Mutant(
        "a candidate has the query's instruction",
        "pipeline/presets.py",
        "            return Side(text=unmarked(side.text)",
        "            return Side(instruction=unmarked(side.instruction), text=unmarked(side.text)",
        PRESETS,
    ),
    Mutant(
        "an instruction in the system turn stays without a full stop",
        "pipeline/presets.py",
        'line = ended(line) if self.instruction == "system_sentence" else line',
        "line = str(line)",
        PRESETS,
    ),
    Mutant(
        "pictures of every family are cut by Qwen2-VL's patches",
        "pipeline/foreign.py",
        "patch=cutter.patch, merge=cutter.merge",
        "merge=cutter.merge",
        PRESETS,
    ),
    Mutant(
        "the last line break is lost",
        "pipeline/presets.py",
        '"\\n\\n" if dataset == "VisDial" else "\\n"',
        '"\\n" if dataset == "VisDial" else ""',
        PRESETS,
    ),
    Mutant(
        "a picture for a picture ends as one for a text",
        "pipeline/presets.py",
        "ends = dataset in TEXT_TO_PICTURE or bool(side.text.strip())",
        "ends = True",
        PRESETS,
    ),
    Mutant(
        "a marker without a picture is left out",
        "pipeline/presets.py",
        "if dataset in MARKED_WITHOUT_PICTURE and not side.images",
        "if False and not side.images",
        PRESETS,
    ),
    Mutant(
        "the end token is left out",
        "pipeline/foreign.py",
        "end = (special_id(folder.tokenizer, preset.end),) if preset.end else ()",
        "end: tuple[int, ...] = ()",
        PRESETS,
    ),
    Mutant(
        "system lines are no part of an embedding's name",
        "pipeline/encode/workload.py",
        "how = (reading.shown, reading.apart) if reading.apart else reading.shown",
        "how = reading.shown",
        PRESETS,
    ),
    Mutant(
        "a missing head is passed over everywhere",
        "pipeline/model/backbone.py",
        "(set() if needs_head else {HEAD})",
        "{HEAD}",
        ("tests/pipeline/model/test_backbone.py",),
    ),
    Mutant(
        "an adapter's own ranks count alike",
        "pipeline/model/adapter_folder.py",
        "LoraConfig(target_modules=sorted(layers), **patterns, **fields)",
        "LoraConfig(target_modules=sorted(layers), **fields)",
        PRESETS,
    ),
    Mutant(
        "a tensor without a place is passed over",
        "pipeline/model/adapter_folder.py",
        "        if match is None or layer is None:\n            raise",
        "        if match is None or layer is None:\n            continue\n            raise",
        PRESETS,
    ),
    Mutant(
        "an adapter stays beside the weights it was to be merged into",
        "pipeline/foreign.py",
        "        adapter_folder.merge_folder(embedder.backbone.model, path)\n",
        "",
        PRESETS,
    ),
    Mutant(
        "a preset's sides are shown as they stand",
        "eval/retrieval_set.py",
        "embeddings = encode(model, self.sides(shown, model.templates),",
        "embeddings = encode(model, [*shown.queries, *shown.candidates],",
        COMMAND,
    ),
    Mutant(
        "two presets write to one folder",
        "eval/subject.py",
        'out=found.out.with_name(f"{found.out.name}-{preset}")',
        "out=found.out",
        COMMAND,
    ),
)
