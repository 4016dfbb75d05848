"""Marionette, the embedded data set: a procedural figure that acts, drawn and encoded in seconds, without a download.

Begin with `marionette`, which makes it; the other modules draw the figure, its actions and its scenes.
"""
