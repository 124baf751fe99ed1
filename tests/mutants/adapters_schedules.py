"""Low-rank adapters and DoRA's lengths of rows."""

from tests.mutants.mutant import Mutant

ADAPTERS = ("tests/pipeline/model/test_adapters.py",)

FLOPS = ("tests/pipeline/train/test_step_metrics.py", "-k", "dora")

MUTANTS = (
    Mutant("dora is lora", "pipeline/model/adapters.py", "use_dora=self.dora, ", "", ADAPTERS),
    Mutant(
        "dora keeps a copy of its targets",
        "pipeline/model/adapters.py",
        "        with torch.no_grad():\n            inject_adapter_in_model",
        "        with torch.enable_grad():\n            inject_adapter_in_model",
        ADAPTERS,
    ),
    Mutant(
        "lengths of rows by another name in the file",
        "pipeline/model/adapters.py",
        'return name.replace(f"{MAGNITUDE}.default.weight", MAGNITUDE).replace(".default.", ".")',
        'return name.replace(".default.", ".")',
        ("tests/pipeline/test_export.py", "-k", "DoRA"),
    ),
    Mutant(
        "another program forgets lengths of rows",
        "pipeline/chorus_input.py",
        "moved if lengths is None else",
        "moved if True else",
        ("tests/pipeline/test_sentence_transformers.py", "-k", "DoRA"),
    ),
    Mutant(
        "dora under dropout costs one map",
        "pipeline/train/flops.py",
        ".times(1 + (has_dropout and target in scaled))",
        "",
        FLOPS,
    ),
    Mutant(
        "dora's last map does not run again",
        "pipeline/train/flops.py",
        ' and name.partition(".lora_")[0] not in scaled',
        "",
        FLOPS,
    ),
)
