"""`crem data show`: a page that draws what one training step reads."""

from pathlib import Path

from jobs.model import backbone_folder
from jobs.stage import Context
from jobs.train import references_folder
from pipeline.errors import ConfigError
from pipeline.manifest import write_atomic


def show_step(context: Context, step: int, out: Path | None = None) -> Path:
    """Write the page of step number `step` (1 is the first) and return its path; `<work>/steps` unless `out` names a file.

    Nothing is trained and no weight is loaded. Raises ConfigError for a step that the recipe does not have, DataError where
    shards are missing, CheckpointError where the model folder is.
    """
    from eval.step_page import shown_step, step_page
    from pipeline.data.qa import QaTable
    from pipeline.data.shards import ShardIndex
    from pipeline.model.backbone import open_folder
    from pipeline.train.build import chorus_ids
    from pipeline.train.dataloader.corpus import Corpus
    from pipeline.train.dataloader.step_dataset import StepDataset
    from pipeline.train.dataloader.token_counts import ensure_lengths, lengths_file, ruler_of

    recipe, phase = context.recipe, context.recipe.phase
    if not 1 <= step <= phase.steps:
        raise ConfigError(f"--step {step}: recipe {recipe.name} has steps 1 to {phase.steps}")
    index, qa = ShardIndex.open(context.shards), QaTable.open(context.qa, phase.needs or "qa")
    model = backbone_folder(context)
    folder = open_folder(model)
    vocabulary = folder.vocabulary(chorus_ids(folder, recipe), recipe.vision)
    ruler = ruler_of(recipe, vocabulary)
    table = lengths_file(context.lengths, index, ruler, model)
    lengths = ensure_lengths(table, index, ruler, lambda done, total: context.progress("lengths", done, total, "rows measured"))
    negatives = references_folder(context.work, recipe)
    dataset = StepDataset(Corpus.of(index, qa, lengths, phase, negatives), recipe, vocabulary)
    page = step_page(shown_step(dataset, folder.tokenizer, step - 1), f"Step {step} of recipe {recipe.name}")
    path = out or context.work / "steps" / f"step-{step:08d}.html"
    write_atomic(path, page)
    return path
