"""What travels from a loader's process to training."""

from tests.mutants.mutant import Mutant

FEATURES = ("tests/pipeline/train/test_vision_features.py::test_pixels_travel_once_and_the_prefix_finds_its_own",)

PARCEL = ("tests/pipeline/train/dataloader/test_collate_buffer.py",)

FEED = ("tests/pipeline/train/dataloader/test_step_dataset.py",)

MUTANTS = (
    Mutant(
        "a resumed run begins with the dearest row",
        "pipeline/train/dataloader/step_dataset.py",
        "in sorted(self.plan(self.draw(0), 0).sides, key=self._cost):",
        "in sorted(self.plan(self.draw(0), 0).sides, key=self._cost, reverse=True):",
        FEED,
    ),
    Mutant(
        "a step that finds no room is waited for",
        "pipeline/train/dataloader/collate_buffer.py",
        "            return shared(buffer)\n",
        "            return buffer\n",
        (f"{PARCEL[0]}::test_shared_memory_is_looked_at_before_it_is_written",),
    ),
    Mutant(
        "a loader process that died is a traceback",
        "pipeline/train/dataloader/collate_buffer.py",
        'if "DataLoader worker" not in str(error):',
        "if True:",
        PARCEL,
    ),
    Mutant(
        "pixels travel twice",
        "pipeline/train/dataloader/step_work.py",
        "[replace(row, pixels=()) for row in truncate(rows, recipe.pooling.positions.role)]",
        "truncate(rows, recipe.pooling.positions.role)",
        FEATURES,
    ),
    Mutant(
        "pixels of other rows",
        "pipeline/train/dataloader/step_work.py",
        "pictures[number] for number in self.prefix_pictures.tolist()",
        "pictures[number] for number in range(len(self.prefix_pictures))",
        FEATURES,
    ),
    Mutant(
        "a picture whose pixels stayed behind is black in silence",
        "pipeline/model/embedder.py",
        'assert not len(batch.image_index), "its pictures have neither pixels nor features"',
        "pass",
        ("tests/pipeline/train/test_vision_features.py::test_a_picture_without_pixels_and_features_is_no_batch",),
    ),
)
