"""This paper's study and its book: parameters, runs, experiments, claims, pages. The library knows nothing of it.

Begin with `parameters`, what a notebook may choose, and `workspace`, the runs and clips that they name; `data` and
`folders` say with what and where. `runs` keeps each step of a run, under the code that made it; `presets` are the
two backbones of the study, `flatness_controls` what is held alike where flatness is compared. `experiments` make the
steps, `tables` make tables of them, `claims` verdicts of the tables, and `book` the pages; `reproduce` runs the
notebooks.
"""
