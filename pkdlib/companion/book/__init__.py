"""The book: its charts, its numbers and tables, and how its pages are built.

Begin with `build`. `charts`, `cascade_charts` and `flatness_charts` draw, with the colours of `encodings`; `display`
puts that on a page. `numbers` and `page_tables` look up what pages show of the tables.
"""
