"""A path to draw to, and a look at the figures that were drawn."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture.png"


@pytest.fixture
def written(monkeypatch):
    """The figures that were written, in order."""
    figures, save = [], Figure.savefig

    def savefig(self, *args, **kwargs):
        save(self, *args, **kwargs)
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


@pytest.fixture
def laid_out(monkeypatch):
    """The figures that would have been written: all is in its place, but no pixel is made."""
    figures = []

    def savefig(self, *args, **kwargs):
        self.draw_without_rendering()
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures
