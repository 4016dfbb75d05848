"""All that the pages in `book/` take from the committed results, by the names under which it stands there."""

from pkdlib.companion.book import effects, numbers
from pkdlib.companion.book.page_tables import collected


def collect() -> dict[str, str]:
    """Give the numbers, effects and tables, and the first page's picture.

    Returns:
        Name -> text or Markdown.
    """
    found = {**numbers.collect(), **effects.collect(), **collected.collect()}
    return {**found, "effects_picture": effects.picture()}
