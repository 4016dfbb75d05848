"""Read I-frames, motion vectors and residuals out of compressed video; needs av and numpy alone.

Begin with `reader`, whose `CompressedVideo` gives any frame of a file in the three modalities, and `transforms`, which
make a network's input of it. `transcode` brings any video into the paper's form, `pictures` draws one. All else serves
these: `sources` and `container` open a file, `packet_index` and `indexing` find its packets, `bitstream` reads what
only the stream's own syntax tells, `decoder` drives libavcodec, GOP by GOP for `gops`, `frames` are what a read gives,
`blocks` a codec's vectors, `motion` follows them back to the I-frame, and `orientation` says how a file wants to be
shown.
"""

from typing import TYPE_CHECKING

from pkdlib import _lazy

if TYPE_CHECKING:
    from pkdlib.video.container import VideoError as VideoError
    from pkdlib.video.reader import CompressedVideo as CompressedVideo
    from pkdlib.video.reader import Frame as Frame
    from pkdlib.video.reader import Gop as Gop
    from pkdlib.video.reader import Sample as Sample
    from pkdlib.video.transforms import View as View

__getattr__, __dir__, __all__ = _lazy.exports(
    __name__,
    {
        "container": ("VideoError",),
        "reader": ("CompressedVideo", "Frame", "Gop", "Sample"),
        "transforms": ("View",),
    },
)
