"""The part of the picture that a network sees, at its size, in its numbers.

A `View` crops, resizes, flips and normalises, in this order, and the same for the three modalities. What comes out is
what cropping, resizing, flipping and normalising the whole arrays would give, bit for bit; but differences are taken
only for the pixels of the crop.
"""

import functools
from dataclasses import dataclass

import numpy as np

from pkdlib.video.container import BadRequest

# The reference saturates motion at +-20 pixels and centres bytes at 128 (CoViAR's dataset.py).
MOTION_SATURATION = 20
BYTE_CENTRE = 128
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def motion_bytes(motion: np.ndarray) -> np.ndarray:
    """Turn motion into bytes by the rule of the paper's loader: clip(trunc(127.5 / 20 * m) + 128) to 0..255.

    Args:
        motion: Displacement in pixels, int16, any shape.

    Returns:
        uint8 of the same shape.
    """
    # 127.5 / 20 is 51 / 8, and a shift rounds down: what is negative is raised first, so that it is cut towards zero.
    # Bytes saturate one pixel beyond MOTION_SATURATION (-20 gives 1, not 0).
    eighths = np.clip(motion, -MOTION_SATURATION - 1, MOTION_SATURATION + 1) * np.int16(51)
    eighths += (eighths >> 15) & 7
    eighths >>= 3
    eighths += BYTE_CENTRE
    return np.clip(eighths, 0, 255).astype(np.uint8)


def residual_bytes(residual: np.ndarray) -> np.ndarray:
    """Turn a residual into bytes by the rule of the paper's loader: clip(r + 128) to 0..255.

    Args:
        residual: Difference, int16, any shape.

    Returns:
        uint8 of the same shape.
    """
    return (np.clip(residual, -BYTE_CENTRE, 255 - BYTE_CENTRE) + BYTE_CENTRE).astype(np.uint8)


@dataclass(frozen=True)
class View:
    """How pictures, motion and residuals are wanted.

    Attributes:
        crop: Top, left, height and width of the part to show, pixels; None shows all.
        size: Height and width to resize it to, bilinearly: pixel centres are aligned, samples beyond the edge repeat
            it, and nothing is smoothed before (as OpenCV's INTER_LINEAR, and torch's `interpolate` without corners
            aligned). None keeps its size. Motion is not scaled: it stays in pixels of the video.
        flip: Mirror left and right, which also negates the motion's x.
        normalise: Give the paper's numbers: motion and residuals as bytes (`motion_bytes`, `residual_bytes`), then
            pictures (b / 255 - mean) / std of ImageNet, residuals (b / 255 - 0.5) / std, motion b / 255 - 0.5.
    """

    crop: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None
    flip: bool = False
    normalise: bool = False

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of a picture that are shown.

        Args:
            height: Height of the picture, pixels.
            width: Width of the picture, pixels.

        Returns:
            The rows and the columns.

        Raises:
            BadRequest: If the crop reaches outside the picture, or a size is not positive.
        """
        top, left, high, wide = self.crop or (0, 0, height, width)
        if high < 1 or wide < 1 or top < 0 or left < 0 or top + high > height or left + wide > width:
            raise BadRequest(
                f"View.crop={self.crop}: top, left, height, width must lie inside the picture of height {height} and "
                f"width {width}"
            )
        if self.size is not None and min(self.size) < 1:
            raise BadRequest(f"View.size={self.size}: height and width must be positive")
        return slice(top, top + high), slice(left, left + wide)

    def image(self, image: np.ndarray) -> np.ndarray:
        """Show a cropped picture.

        Args:
            image: The picture inside `window`, uint8 (h, w, 3).

        Returns:
            uint8 if it is neither resized nor normalised, else float32; (h, w, 3) at the size asked for.
        """
        image = self._sized(image)
        return _normalised(image, IMAGENET_MEAN, IMAGENET_STD) if self.normalise else image

    def motion(self, motion: np.ndarray) -> np.ndarray:
        """Show cropped motion.

        Args:
            motion: The motion inside `window`, int16 (h, w, 2).

        Returns:
            int16 if it is neither resized nor normalised, else float32; (h, w, 2) at the size asked for.
        """
        if self.flip:
            motion = motion.copy()
            np.negative(motion[..., 0], out=motion[..., 0])
        motion = self._sized(motion_bytes(motion) if self.normalise else motion)
        return _normalised(motion, (0.5, 0.5), (1.0, 1.0)) if self.normalise else motion

    def residual(self, residual: np.ndarray) -> np.ndarray:
        """Show a cropped residual.

        Args:
            residual: The residual inside `window`, int16 (h, w, 3).

        Returns:
            int16 if it is neither resized nor normalised, else float32; (h, w, 3) at the size asked for.
        """
        residual = self._sized(residual_bytes(residual) if self.normalise else residual)
        return _normalised(residual, (0.5, 0.5, 0.5), IMAGENET_STD) if self.normalise else residual

    def _sized(self, array: np.ndarray) -> np.ndarray:
        if self.size is not None and array.shape[:2] != tuple(self.size):
            array = resize(array, *self.size)
        return np.ascontiguousarray(array[:, ::-1] if self.flip else array)


WHOLE = View()  # everything, as it is


def resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize bilinearly, as `View.size` says.

    Args:
        array: (h, w, C), any numbers.
        height: Height of the result, pixels.
        width: Width of the result, pixels.

    Returns:
        float32 (height, width, C).
    """
    high, wide, channels = array.shape
    rows = np.ascontiguousarray(array).reshape(high, wide * channels)
    above, below, part = _neighbours(high, height)
    rows = _between(rows[above].astype(np.float32), rows[below].astype(np.float32), part[:, None])
    left, right, part = _neighbours(wide, width, channels)
    # No index needs clipping, but the default mode looks at each one first.
    left, right = (np.take(rows, index, axis=1, mode="clip") for index in (left, right))
    return _between(left, right, part).reshape(height, width, channels)


@functools.lru_cache(maxsize=64)
def _neighbours(length: int, wanted: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # For each wanted sample the two it lies between, and how far it is from the first to the second. Channels are side
    # by side: single numbers are gathered faster than pixels of 8 or 12 bytes.
    place = np.clip((np.arange(wanted) + 0.5) * (length / wanted) - 0.5, 0, length - 1)
    first = np.minimum(place.astype(np.intp), length - 1)
    both = (
        (index[:, None] * channels + np.arange(channels)).reshape(-1)
        for index in (first, np.minimum(first + 1, length - 1))
    )
    return *both, np.repeat((place - first).astype(np.float32), channels)


def _between(first: np.ndarray, second: np.ndarray, part: np.ndarray) -> np.ndarray:
    second -= first
    second *= part
    second += first
    return second


def _normalised(array: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    # Bytes / 255, less the mean, divided by the deviation of each channel.
    height, width, channels = array.shape
    centre, scale = _line(mean, std, width)
    result = np.subtract(array.reshape(height, width * channels), centre, dtype=np.float32)
    result *= scale
    return result.reshape(array.shape)


@functools.lru_cache(maxsize=64)
def _line(mean: tuple[float, ...], std: tuple[float, ...], width: int) -> tuple[np.ndarray, np.ndarray]:
    # A row at a time: over the few channels of a pixel, numpy takes twenty times as long.
    values = np.multiply(255, mean), np.divide(1, np.multiply(255, std))
    return tuple(np.tile(value.astype(np.float32), width) for value in values)
