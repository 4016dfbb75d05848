"""Marionette, the embedded data set: a procedural figure that acts, drawn and encoded in seconds, without a download.

Begin with `marionette`, which makes it; `marionette_2` makes one in which places and props go with actions, so that
single frames tell more. The other modules draw the figure, its actions, its props and its scenes.
"""
