"""Differences between systems, with intervals that count runs and groups of clips, not clips.

Begin with `intervals`: the interval of a mean over runs and groups, and several at once. `differences` are what they
are taken of.
"""
