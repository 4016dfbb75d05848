"""How a file asks for its pictures to be turned and mirrored before they are shown: one of eight ways.

The mark is a matrix (ISO/IEC 14496-12, section 6.2.2; libavutil's AV_FRAME_DATA_DISPLAYMATRIX): a point (x, y) of the
stored picture is shown at (a x + c y, b x + d y), y downwards, for the rows (a, b, _), (c, d, _), shifted to be seen.
"""

from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer


class Orientation(NamedTuple):
    """What to do to a stored picture, in this order.

    Attributes:
        mirrored: Whether left and right are to be swapped.
        rotation: Degrees, counterclockwise, by which it is to be turned then: 0, 90, 180 or 270.
    """

    mirrored: bool = False
    rotation: int = 0

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Turn a stored picture as it is to be shown.

        Args:
            picture: The picture, (H, W, ...).

        Returns:
            A view of it.
        """
        return np.rot90(picture[:, ::-1] if self.mirrored else picture, self.rotation // 90)


def of(frame: av.VideoFrame) -> Orientation:
    """Read the mark of a frame.

    Args:
        frame: A decoded frame.

    Returns:
        Its orientation; one that is no quarter turn is taken for the nearest that is.
    """
    data = SideDataContainer(frame).get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b  # what a picture that was mirrored before is turned by
    # Shown at (a, b), which is downwards, is what was at (1, 0).
    return Orientation(mirrored, round(np.degrees(np.arctan2(-b, a)) / 90) * 90 % 360)
