"""The experiments of the study, each a function from a run to the folder or the rows that it makes.

Begin with `training`: how backbones and exits become steps of a run. On these stand `fusion` (WISE and its baselines),
`operating_points` and `latency` (early exit), `flatness`, `protocol` (the audit) and `crossfit`; `counts` turns answers
into counts of right ones by group.
"""
