"""An exported model in mteb, offline, on a task of our own: its figure is that of the same vectors ranked by numpy."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.toy_captions import write_captions
from data_prep.toy_files import PictureBook
from pipeline.data.caption_sets import CaptionSet, read_captions
from pipeline.export import export
from pipeline.inference import load_model
from pipeline.sample import Side
from tests.pipeline.conftest import loaded as loaded
from tests.pipeline.conftest import model_folder as model_folder
from tests.pipeline.conftest import recipe as recipe
from tests.pipeline.conftest import trained as trained

pytestmark = pytest.mark.slow
mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install .[mteb]")
ROWS = 12


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> CaptionSet:
    root = tmp_path_factory.mktemp("data")
    write_captions(root / "cross-domain", seed=0, rows=ROWS, book=PictureBook())
    return read_captions(root, "flickr30k")


def task_of(captions: CaptionSet) -> Any:
    """Captions look for pictures, as mteb hands them over: captions and pictures alone, without MMEB's wordings."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    class OwnCaptions(AbsTaskRetrieval):
        """Pictures of the toy world, from memory."""

        metadata = TaskMetadata(
            name="OwnCaptions",
            description="Captions of drawn pictures.",
            reference=None,
            dataset={"path": "own", "revision": "1"},
            type="Any2AnyRetrieval",
            category="t2i",
            modalities=["text", "image"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="recall_at_1",
            date=("2026-01-01", "2026-01-01"),
            domains=[],
            task_subtypes=[],
            license="not specified",
            annotations_creators="derived",
            dialect=[],
            sample_creation="created",
            bibtex_citation="",
        )

        def load_data(self, num_proc: int | None = None, **given: Any) -> None:
            # Converted, they are kept as PNG: `datasets` would write JPEG files anew, and lose a little.
            pictures = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in captions.pictures]
            names = [f"q{number}" for number in range(len(captions.captions))]
            split = RetrievalSplitData(
                queries=Dataset.from_dict({"id": names, "text": list(captions.captions)}),
                corpus=Dataset.from_dict({"id": [f"d{number}" for number in range(len(pictures))], "image": pictures}),
                relevant_docs={name: {f"d{owner}": 1} for name, owner in zip(names, captions.owners, strict=True)},
                top_ranked=None,
            )
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return OwnCaptions()


def test_mteb_s_figure_is_that_of_our_vectors(captions: CaptionSet, trained: Path, tmp_path: Path) -> None:
    from mteb.models import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    export(trained, tmp_path / "exported", form="merged")
    judged = SentenceTransformerEncoderWrapper(
        SentenceTransformer(str(tmp_path / "exported"), trust_remote_code=True, device="cpu")
    )
    judged.mteb_model_meta.modalities = ["text", "image"]  # mteb refuses pictures of a local model that does not say so
    results = mteb.evaluate(judged, task_of(captions), cache=None, show_progress_bar=False, co2_tracker=False)
    (scores,) = results.task_results[0].scores["test"]
    model = load_model(trained)
    asked = model.embed([Side(text=caption) for caption in captions.captions])
    shown = model.embed([Side(images=(picture,)) for picture in captions.pictures])
    place = (asked @ shown.T > (asked * shown[list(captions.owners)]).sum(axis=1, keepdims=True) + 1e-6).sum(axis=1)
    for cutoff in (1, 5, 10):
        assert scores[f"recall_at_{cutoff}"] == pytest.approx(np.mean(place < cutoff), abs=1e-4)
