"""One training loop, which an interruption does not change, on one device or several.

Begin with `trainer`: how a backbone is trained, and the epochs of any training. `tuning` says how weights are stepped,
`levels` end a training at a stated loss, `devices` prepare a processor or a GPU, and `distributed` lets several
processes train together.
"""
