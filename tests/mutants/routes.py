"""Ways to tell another route of attention than the one that is taken."""

from tests.mutants.mutant import Mutant

CHECK, LOOP = ("tests/pipeline/model/test_varlen_check.py",), ("tests/pipeline/train/test_loop.py",)

MUTANTS = (
    Mutant(
        "the route is told of other heads",
        "pipeline/model/attention.py",
        "heads, keys = config.num_attention_heads, config.num_key_value_heads",
        "heads, keys = config.num_attention_heads, 3 * config.num_key_value_heads",
        (f"{CHECK[0]}::test_the_route_is_told_with_its_reason",),
    ),
    Mutant(
        "the route is told without its reason",
        "pipeline/model/varlen_check.py",
        "        why,\n    )\n    return why\n",
        "        why,\n    )\n    return 'no'\n",
        (f"{CHECK[0]}::test_the_route_is_told_with_its_reason",),
    ),
    Mutant(
        "a run says that it took the kernel",
        "pipeline/train/loop.py",
        'figures["attention_kernel"] = float(self.route.is_kernel)',
        'figures["attention_kernel"] = 1.0',
        (f"{LOOP[0]}::test_every_step_s_figures_go_to_the_file_and_to_the_tracker",),
    ),
)
