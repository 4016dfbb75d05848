"""The book: its charts, what it says of tables, and how its pages are built.

Begin with `build`. `charts`, `cascade_charts` and `flatness_charts` draw, with the colours and names of `encodings`,
and `display` puts what they draw on a page. `prose` says in words what tables hold.
"""
