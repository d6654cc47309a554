"""What the document says already of parts that nobody has measured since: a run of one part keeps the others' words.

The raw results stay on the machine that made them, in artefacts/; the document outlives them, and each of its parts
says when and at which commit it was measured.
"""

from __future__ import annotations

import re

NOTHING = ("Not measured yet", "not measured")


class Earlier:
    """A document of before, by the titles of its sections; what is in front of the first title is called ''."""

    def __init__(self, text: str = "") -> None:
        parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
        titles = ["", *parts[1::2]]
        self._sections = dict(zip(titles, (part.strip() for part in parts[0::2]), strict=True))

    def section(self, title: str) -> str:
        """Its text; empty if there is none, or if it says that nothing was measured."""
        text = self._sections.get(title, "")
        return "" if text.startswith(NOTHING) else text

    def rows(self, title: str) -> list[tuple[str, ...]]:
        """The rows of its tables, without their heads, as cells; without those that say that nothing was measured."""
        lines = [line for line in self._sections.get(title, "").splitlines() if line.startswith("| ")]
        rows = [tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in lines]
        return [row for row in rows[1:] if not any(cell in NOTHING for cell in row)]
