"""Tables as pages show them, in words and rounded figures: of the committed results, and of a reader's own run.

Begin with `verdict_tables`; `layout` writes figures and Markdown, and `collected` gives the pages in `book/` their
tables.
"""
