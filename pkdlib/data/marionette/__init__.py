"""Marionette, the embedded data set: a procedural figure that acts, drawn and encoded in seconds, without a download.

Begin with `marionette`, which makes it. `marionette_1` is its first version, whose single frames tell less. The other
modules draw the figure, its actions, its props and its scenes.
"""
