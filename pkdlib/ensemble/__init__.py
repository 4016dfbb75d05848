"""From the logits of several exits to one answer: logits in, logits out.

Begin with `wise`: weights for each prefix of exits, by WISE and its variants. `stacking` is a baseline with many more
weights; `logits` has the arithmetic that both share.
"""
