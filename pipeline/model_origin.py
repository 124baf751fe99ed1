"""What a model was made of, and the two names that this gives it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from pipeline.manifest import fingerprint
from pipeline.model.device import Dtype
from pipeline.model.inputs import PixelLimits
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_fingerprint


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """Digests of the folder's files, a name of the trained weights, the recipe, the number type."""

    digests: Mapping[str, str]
    trained: str
    recipe: Recipe
    dtype: Dtype

    @property
    def fingerprint(self) -> str:
        """Names all that results depend on."""
        return self._of(self.recipe)

    @property
    def encoder_fingerprint(self) -> str:
        """Names all that an embedding depends on but the sizes at which pictures are shown, which are looked at one by one."""
        pixels = self.recipe.pixels
        return self._of(replace(self.recipe, pixels=PixelLimits(patch=pixels.patch, merge=pixels.merge)))

    def _of(self, recipe: Recipe) -> str:
        return fingerprint([self.digests, self.trained, recipe_fingerprint(recipe), self.dtype])


def untrained_parts(**parts: object) -> str:
    """Which parts of a new model have weights of their own, in words ("untrained tokens and pooling"); empty for none."""
    names = [name for name, part in parts.items() if isinstance(part, nn.Module) and any(True for _ in part.parameters())]
    return f"untrained {' and '.join(names)}" if names else ""
