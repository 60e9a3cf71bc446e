"""A run without its pictures takes a third of the time; one test draws them all."""

import pytest

from torchcaps.training import finish


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "draw", lambda *arguments: None)
