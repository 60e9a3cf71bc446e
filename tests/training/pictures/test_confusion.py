import numpy as np
import pytest
import torch

from tests.training.pictures.examples import matrix
from tests.training.pictures.figure_checks import assert_neat, count_pixels, pixels, rgb, strings
from torchcaps.training.pictures import draw_confusion
from torchcaps.training.pictures.style import WRONG


@pytest.mark.parametrize("classes", [2, 21, 300])
def test_any_number_of_classes(classes, path, laid_out):
    names = [f"class number {k}" for k in range(classes)]
    draw_confusion(matrix(classes), names, path=path)
    figure = laid_out[0]
    total = classes * 40 + 7
    title = figure.axes[0].get_title(loc="left").replace("\N{NARROW NO-BREAK SPACE}", "")
    assert title == f"{total} examples, accuracy {100 * classes * 40 / total:.2f} %"
    assert strings(figure).count("7") == (1 if classes == 2 else 0)
    assert strings(figure).count("class number 0") == 2
    assert_neat(figure)


def test_counts_fit_their_cells(path, laid_out):
    draw_confusion(matrix(20, right=10_000_000), [str(k) for k in range(20)], path=path)
    assert strings(laid_out[0]).count("10000000") == 20
    assert_neat(laid_out[0])


def test_mistakes_are_coloured_by_share_and_the_diagonal_is_not(path, written):
    # Class 0: 10 of 20 wrong. Class 1: 10 of 1000 wrong. Class 2: none.
    counts = torch.tensor([[10, 10, 0], [10, 990, 0], [0, 0, 500]])
    draw_confusion(counts, ["a", "b", "c"], path=path)
    image = pixels(path)
    axes = written[0].axes[0]

    def cell(true, predicted):
        # Away from the number in the middle.
        x, y = axes.transData.transform((predicted + 0.3, true + 0.3))
        return image[image.shape[0] - 1 - int(y), int(x)]

    saturation = {(i, j): int(np.ptp(cell(i, j))) for i in range(3) for j in range(3)}
    assert saturation[0, 1] > saturation[1, 0] + 30
    assert saturation[1, 0] > 15  # 1 % is seen beside 50 %
    assert saturation[0, 2] == 0  # white
    assert {tuple(cell(k, k)) for k in range(3)} == {(0xCF, 0xD8, 0xDE)}


def test_rows_are_the_true_classes(path, laid_out):
    draw_confusion(matrix(2), ["cat", "dog"], path=path)
    axes = laid_out[0].axes[0]
    (seven,) = [text for text in axes.texts if text.get_text() == "7"]
    assert seven.get_position() == (0, 1)  # x: predicted cat, y: true dog
    assert axes.get_ylabel() == "true class"
    assert axes.get_xlabel() == "predicted class"
    assert axes.yaxis_inverted()


def frames(figure):
    return sorted(patch.get_xy() for patch in figure.axes[0].patches)


def test_a_class_that_is_never_answered_right_is_framed(path, written):
    # Class 2 has no example: it cannot be answered right.
    draw_confusion(torch.tensor([[9, 0, 0], [7, 0, 0], [0, 0, 0]]), ["a", "b", "c"], path=path)
    assert frames(written[0]) == [(0.5, 0.5)]
    assert count_pixels(path, rgb(WRONG)) > 500
    draw_confusion(matrix(3), ["a", "b", "c"], path=path)
    assert frames(written[1]) == []
    collapsed = torch.zeros(100, 100, dtype=torch.int64)
    collapsed[:, 7] = 5
    draw_confusion(collapsed, [f"class {k}" for k in range(100)], path=path)
    assert len(frames(written[2])) == 99
    assert_neat(written[2])


@pytest.mark.parametrize("names", [["a", "b"], ["a rather long name", "another name"]])
def test_beside_the_accuracy_stands_what_it_hides(names, path, laid_out):
    draw_confusion(torch.tensor([[900, 50], [40, 10]]), names, path=path)
    said = strings(laid_out[0])
    assert "balanced 57.37 %, always the largest class 95.00 %" in said
    assert_neat(laid_out[0])


def test_an_empty_matrix_has_no_accuracy(path, laid_out):
    draw_confusion(torch.zeros(3, 3), ["a", "b", "c"], path=path)
    assert laid_out[0].axes[0].get_title(loc="left") == "0 examples"


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (4,), (0, 0)])
def test_a_matrix_without_its_names_is_refused(shape, path):
    names = ["a", "b"] if shape != (0, 0) else []
    with pytest.raises(ValueError, match="class names"):
        draw_confusion(torch.zeros(shape), names, path=path)
