"""The page of a drill: complete in itself, with the pause where it was, and nothing that a name could break."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from pgswarm.core.drilling import Announcement, Promise
from pgswarm.core.drillreport import Report, Said, Tape, judged
from pgswarm.render import drillpage


def made(failure: str = "cut") -> Report:
    tape = Tape()
    acks = tuple((at / 100, 0.004) for at in range(-200, 500) if not 5 < at < 60)
    tape.take(Said(drill="ready", at=0.0, acks=acks, failures=((0.1, failure),)), 0.0)
    tape.take(Said(drill="end", at=5.0, missing=0), 5.0)
    promise = Promise(seconds=1.0, lossless=True, text="…")
    known = Announcement(cluster="main", kind="postgres", primary="pg-a", node="node1", promise=promise)
    marks = ((0.2, "record", "term 2: pg-b is primary"), (3.0, "whole", "all is at rest again"))
    return judged(known, tape, 0.0, marks, successor="pg-b", whole_at=3.0)  # type: ignore[arg-type]


def test_the_page_needs_nothing_but_itself_and_knows_light_and_dark() -> None:
    page = drillpage.page(made())
    assert not re.findall(r"https?://|<script|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page
    assert "0.55 s" in page


def test_both_pictures_are_well_formed_and_show_the_pause_and_every_mark() -> None:
    pictures = re.findall(r"<svg.*?</svg>", drillpage.page(made()), re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        root = ET.fromstring(picture)
        band = next(one for one in root if one.get("class") == "band")
        assert float(band.get("width") or 0) > 10
        assert any("pg-b is primary" in (one.text or "") for one in root)
        assert any(one.get("class") == "fail" for one in root)
        for one in root.iter():
            for name in ("x", "x1", "cx", "y", "cy", "height", "width"):
                assert float(one.get(name) or 0) >= 0, (one.tag, name)


def test_what_others_said_is_text_and_never_markup() -> None:
    page = drillpage.page(made('<script>alert("x")</script>'))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_drill_of_which_nothing_was_heard_has_a_page_too() -> None:
    promise = Promise(seconds=1.0, lossless=True, text="…")
    known = Announcement(cluster="main", kind="container", primary="pg-a", node="node1", promise=promise)
    page = drillpage.page(judged(known, Tape(), 0.0, []))
    assert "the promise was broken" in page
