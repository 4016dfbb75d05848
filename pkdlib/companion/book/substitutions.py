"""All that the pages in `book/` take from the committed results, by the names under which it stands there."""

from pkdlib import _processes
from pkdlib.companion.book import effects, numbers
from pkdlib.companion.book.page_tables import collected


def collect() -> dict[str, str]:
    """Give the numbers, effects and tables, and the first page's picture.

    Returns:
        Name -> text or Markdown.
    """
    found = {**numbers.collect(), **effects.collect(), **collected.collect()}
    return {**found, "effects_picture": effects.picture()}


def collect_apart() -> dict[str, str]:
    """Do so in a process of its own, so that the memory is free again when Sphinx needs it.

    Returns:
        As `collect`.
    """
    with _processes.pool(1, "spawn") as apart:
        return apart.submit(collect).result()
