"""The site's table of objectives. The whole site: integration/test_site.py."""

from __future__ import annotations

import build_site
import sample_lesson


def test_each_objective_links_to_the_heading_above_its_check() -> None:
    nb = sample_lesson.build()
    page = build_site.objectives_page({sample_lesson.NAME: nb})
    assert page.count("\n| ") == 1 + 3
    assert "| draw a **figure** | [`assert-sum`](<notebooks/03_sample.ipynb#How-much-is-the-sum?>) |" in page
