"""From tables to verdicts: what the paper claims, what is compared for it, and what the data say.

Begin with `claims`; `comparisons` and `flatness_comparisons` say what is subtracted from what, `verdicts` has the rule,
and `aggregate` makes small tables for pages.
"""
