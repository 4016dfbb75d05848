"""This paper's study and its book: parameters, runs, experiments, claims, pages. The library knows nothing of it.

Begin with `parameters`, what a notebook may choose, and `workspace`, the runs and clips that they name; `profiles`,
`data` and `folders` say with what and where. `runs` keeps each step of a run, under the code that made it; `presets`
are the two backbones of the study, `flatness_controls` what is held alike where flatness is compared. `experiments`
make the steps, `tables` make tables of them, which `results` finds again, `claims` verdicts of the tables, `advantages`
of teachers over students, and `book` the pages, with the `names` that readers see. `reproduce` runs the notebooks,
whose cells `notebook_cells` reads, and `export` writes a run's networks.
"""
