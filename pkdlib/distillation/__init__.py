"""Progressive knowledge distillation (PKD): which teacher an exit learns from, and when.

Begin with `schedules`: a method is a schedule of teachers, a table of what teaches from which epoch on. `train_exits`
trains the internal classifiers of frozen backbones by any number of methods side by side.
"""
