"""Data sets, their splits, and clips as tensors.

Begin with `datasets`: what a clip, a split and a data set are. `folder` makes one of your own clips, `ut_interaction`
is such a one, `marionette` draws one, and `official` has the paper's two. `frame_cache` keeps their frames, `sampling`
makes batches of frames, the same crop for each modality, and `loader` feeds a training. `folds`, `sources`, `survey`
and the modules with an underscore serve these.
"""
