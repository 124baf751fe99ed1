"""What stage `evaluate` embeds, embedded by several processes before it: the stage then finds every embedding kept.

The stage itself stays with one process, which ranks, asks and writes.
"""

import logging

from eval.model_protocol import Model, Progress, silent
from eval.retrieval_set import RetrievalSet
from eval.subject import newest_checkpoint
from jobs.evaluate import FEWER, TRAINED, UNTRAINED, EvaluateStage
from jobs.evaluated import trained_reader, untrained_reader
from pipeline.encode import embedding_cache
from pipeline.encode.encode import encode
from pipeline.encode.ranks import Ranks
from pipeline.encode.share import Encoding
from pipeline.errors import DataError
from pipeline.model.device import usual_place

logger = logging.getLogger(__name__)


def embed_sets(stage: EvaluateStage, ranks: Ranks) -> int:
    """Embed the chosen sets of the stage's models, all ranks together; the number of sets. One that cannot be used is left to the
    stage, which says so."""
    context, counts = stage.context, stage.context.recipe.tokens.elastic[:-1]
    trained = newest_checkpoint(stage.place)
    readers = {UNTRAINED: untrained_reader(context)}
    readers |= {FEWER.format(count): trained_reader(trained, tokens=count) for count in counts}
    readers[TRAINED] = trained_reader(trained)
    how = Encoding.usual(context.work / embedding_cache.FOLDER, ranks)
    device, dtype = usual_place()
    done = 0
    for label, read in readers.items():
        wanted = [each for each in stage.retrieval(label, how) if stage.choice.has(label, each)]
        model = read(recipe=context.recipe, device=device, dtype=dtype) if wanted else None
        progress = stage.watched(f"{label}, embedding") if ranks.is_first else silent
        done += sum(_embedded(each, model, progress) for each in wanted if model is not None)
    return done


def _embedded(each: RetrievalSet, model: Model, progress: Progress) -> bool:
    """Whether a set could be embedded. All ranks read the same files, and one that met something tells the others."""
    try:
        sides = each.sides(each.shown(), model.templates)
        encode(model, sides, what=each.dataset, how=each.how, progress=progress)
    except DataError as error:
        logger.debug("%s: %s", each.dataset, error)
        return False
    return True
