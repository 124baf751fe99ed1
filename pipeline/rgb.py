"""A decoded picture as every reader sees it: upright, in RGB, on white. Shards hold it so; others become so when read."""

import numpy as np
from PIL import Image, ImageOps

_ORIENTATION = 0x0112


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF block says."""
    return ImageOps.exif_transpose(picture) if orientation(picture) != 1 else picture


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or the EXIF block is damaged: its pixels may still be sound."""
    try:
        value = picture.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - damaged EXIF raises many kinds; none of them says anything about the pixels
        return 1
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def rgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB, what is transparent on white, 16 bits of grey scaled to 8. Raises ValueError for 32 bits a pixel."""
    if picture.mode in ("I", "F"):
        raise ValueError("the picture has 32 bits a pixel, whose range nothing defines")
    if picture.mode.startswith("I;16"):
        # 65535 / 257 = 255: Pillow's own conversion would clip instead of scaling.
        return Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    # Converting RGB to RGB would only copy it.
    return picture if picture.mode == "RGB" else picture.convert("RGB")
