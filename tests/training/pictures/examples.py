"""Small things to draw, and for each picture a call that works."""

import torch

from torchcaps.training.pictures import (
    draw_confusion,
    draw_learning_curves,
    draw_mistakes,
    draw_prediction,
    draw_reconstructions,
)

DIGITS = [str(k) for k in range(10)]
LONG = [f"a rather long name of class {k} of them" for k in range(10)]
NO_FONT_HAS = "\U000f1234"  # a private-use character


def history(epochs, **changed):
    return [
        {
            "epoch": k,
            "loss": 0.3 / k,
            "classification_loss": 0.2 / k,
            "reconstruction_loss": 30.0 / k,
            "train_accuracy": 1 - 0.3 / k,
            "validation_accuracy": 1 - 0.4 / k,
        }
        | changed
        for k in range(1, epochs + 1)
    ]


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def plain(count, colour=(0.2, 0.2, 0.2), size=12):
    """[count, 3, size, size] of one colour."""
    return torch.tensor(colour)[:, None, None].expand(count, -1, size, size)


def matrix(classes, right=40):
    counts = torch.eye(classes, dtype=torch.int64) * right
    counts[1, 0] = 7
    return counts


def curves(path, names):
    levels = {"largest class": 0.3, "guessing": 0.1}
    draw_learning_curves(history(3), path=path, references=levels, validation_images=60)


def reconstructions(path, names):
    images, classes = noise(12, 1, 8, 8), torch.arange(12)
    draw_reconstructions(images, images, classes % 10, classes % 7, names, path=path)


def confusion(path, names):
    draw_confusion(matrix(7), names[:7], path=path)


def mistakes(path, names):
    labels, confidences = torch.arange(13) % 10, torch.linspace(0.9, 0.2, 13)
    images, predictions = noise(13, 1, 8, 8), (labels + 1) % 10
    draw_mistakes(images, labels, predictions, confidences, names, path=path, total=20)


def prediction(path, names):
    image = noise(1, 8, 8)
    draw_prediction(image, image, noise(10), names, path=path, title=names[0])
