"""The tests' own way of waiting for a page."""

import pytest

from tests.explorer_page import settle


def test_a_page_that_never_settles_fails_and_does_not_hang(open_page, tmp_path):
    path = tmp_path / "blank.html"
    path.write_text("<title>nothing here</title>")
    page = open_page(path)
    with pytest.raises(Exception, match=r"the page has not settled in 0\.2 s"):
        settle(page, seconds=0.2)
