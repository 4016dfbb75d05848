"""What coded streams say in their own headers and libavcodec does not tell.

`h264` (by way of `h264_units`) and `mpeg` read each family's; `h264_gaps` looks for frames that are missing. `headers`
tells, for any codec, which headers hold for a picture.
"""
