"""UCF-101 and HMDB-51, with their official splits, whole or in part.

Begin with `official`, which loads a prepared folder; `preparation` prepares one from archives or from a folder of
videos, `ucf101` and `hmdb51` say what is particular to each. `parts`, `archives` and `downloads` serve these.
"""
