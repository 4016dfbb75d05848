"""How flat or sharp the minimum is in which a network ends: any module, any batches.

Begin with `measures`, which takes all of them of a network. The measures lie in `traces`, `spectra`, `sharpness` and
`landscape`; they take a network as an `objective`, through the curvature of `operators`, and say how sure they are as
`estimates` do.
"""
