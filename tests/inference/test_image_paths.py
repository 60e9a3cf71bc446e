import os
from pathlib import Path

import pytest

from torchcaps.errors import InputError
from torchcaps.inference import find_images


def made(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(found, folder):
    return [str(path.relative_to(folder)) for path in found.paths]


def test_a_folder_gives_its_images_at_any_depth_in_order(tmp_path):
    made(tmp_path, "b/c.png", "a.JPEG", "b/a.gif", "b/.x.png", ".h/x.png", "Thumbs.db", "x.txt")
    found = find_images([tmp_path])
    assert names(found, tmp_path) == ["a.JPEG", "b/a.gif", "b/c.png"]
    assert found.others == 1


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path):
    made(tmp_path, "scan", "[a].png", "a.png")
    assert names(find_images([tmp_path / "scan"]), tmp_path) == ["scan"]
    # A file whose name looks like a pattern is that file.
    assert names(find_images([tmp_path / "[a].png"]), tmp_path) == ["[a].png"]
    assert find_images([Path("gone.png")]).paths == [Path("gone.png")]  # reading says what is wrong


def test_patterns(tmp_path):
    made(tmp_path, "a/1.png", "a/b/2.png", "3.png")
    assert names(find_images([tmp_path / "**/*.png"]), tmp_path) == [
        "3.png",
        "a/1.png",
        "a/b/2.png",
    ]
    assert names(find_images([tmp_path / "a*"]), tmp_path) == ["a/1.png", "a/b/2.png"]
    with pytest.raises(InputError, match=r"\*\.gif matches no file"):
        find_images([tmp_path / "*.gif"])


def test_links_to_folders_are_followed_once(tmp_path):
    made(tmp_path, "a/1.png")
    # 2^30 paths lead through these.
    for depth in range(30):
        inner = tmp_path / "a" / "/".join("d" * depth) / "d"
        inner.mkdir()
        (inner.parent / "e").symlink_to("d")
    (tmp_path / "a" / "up").symlink_to("..")
    made(tmp_path, "a/" + "d/" * 30 + "2.png")
    found = find_images([tmp_path / "a"])
    assert [path.name for path in found.paths] == ["1.png", "2.png"]


def test_a_file_that_is_spelt_twice_is_taken_once(tmp_path, monkeypatch):
    made(tmp_path, "a/1.png", "a/b/2.png")
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    words = ["a", str(tmp_path / "a"), "a/b/../1.png", "link", "link/b", "a/*.png"]
    assert find_images(list(map(Path, words))).paths == [Path("a/1.png"), Path("a/b/2.png")]
    # a link beside its file has a name of its own
    (tmp_path / "a" / "3.png").symlink_to("1.png")
    assert [path.name for path in find_images([Path("a")]).paths] == ["1.png", "3.png", "2.png"]


def test_a_link_to_nothing_and_a_folder_that_cannot_be_read_are_not_passed_over(
    tmp_path, monkeypatch
):
    made(tmp_path, "1.png", "shut/2.png")
    (tmp_path / "0.png").symlink_to("gone")
    shut, scandir = tmp_path / "shut", __import__("os").scandir

    def refuse(folder):
        if folder == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr("torchcaps.inference.image_paths.os.scandir", refuse)
    assert names(find_images([tmp_path]), tmp_path) == ["0.png", "1.png", "shut"]


def test_what_the_system_refuses_to_look_at_is_not_passed_over(tmp_path, monkeypatch):
    long = tmp_path / f"{'a' * 300}.png"
    made(tmp_path, "1.png", "list only/inner/2.png")
    inner = tmp_path / "list only" / "inner"
    real, scandir = os.stat, os.scandir

    def refuse(path, *arguments, **options):  # as in a folder without the permission x
        if isinstance(path, str | Path) and inner.parent in Path(path).parents:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) and scandir(path))
    assert find_images([long, tmp_path, inner]).paths == [long, tmp_path / "1.png", inner]


def test_a_pattern_comes_to_each_folder_once_where_links_lead_in_circles(tmp_path, monkeypatch):
    made(tmp_path, "a/b/1.png", "a/notes.txt", "a/.hidden/2.png")
    for number in range(6):
        (tmp_path / f"l{number}").symlink_to(".")
        (tmp_path / "a" / f"l{number}").symlink_to("..")
    walked, scandir = [], os.scandir

    def count(folder="."):
        walked.append(folder)
        assert len(walked) < 100
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", count)
    for pattern in ("**/*.png", "**/b/**/*.png", "a/**/1.png", "**/b"):
        assert names(find_images([tmp_path / pattern]), tmp_path) == ["a/b/1.png"]
    monkeypatch.chdir(tmp_path)
    assert find_images([Path("**/1.*")]).paths == [Path("a/b/1.png")]
    found = find_images([tmp_path / "a" / "**"]).paths
    assert sorted(path.name for path in found) == ["1.png", "notes.txt"]


def test_a_folder_without_images(tmp_path):
    made(tmp_path, "a.txt")
    said = r"holds no images; expected \.bmp .* \.jfif .* in it or in"
    with pytest.raises(InputError, match=said):
        find_images([tmp_path])


def test_a_link_in_a_circle_is_one_file_that_cannot_be_read(tmp_path):
    made(tmp_path, "a.png", "z.png")
    (tmp_path / "self.png").symlink_to("self.png")
    assert names(find_images([tmp_path]), tmp_path) == ["a.png", "self.png", "z.png"]


def test_what_is_left_out_is_so_of_folders_and_patterns_unless_it_is_named(tmp_path):
    made(tmp_path, "a.png", "drawn/b.png", "drawn/deep/c.png")
    drawn = tmp_path / "drawn"
    for named in (tmp_path, tmp_path / "**/*.png", tmp_path / "**"):
        assert names(find_images([named], drawn), tmp_path) == ["a.png"]
    for named in (drawn, drawn / "**/*.png", tmp_path / "./drawn"):
        found = find_images([named], drawn)
        assert names(found, tmp_path) == ["drawn/b.png", "drawn/deep/c.png"]
    (tmp_path / "a.png").unlink()
    said = f"outside {drawn}, which is left out unless it is named itself"
    for named in (tmp_path, tmp_path / "**/*.png"):
        with pytest.raises(InputError, match=said):
            find_images([named], drawn)


def test_what_systems_leave_is_passed_over_at_any_depth_by_patterns_too(tmp_path):
    made(
        tmp_path,
        "a.jfif",
        "@eaDir/a.png/t.jpg",
        "b/#RECYCLE/c.png",
        "b/d.png",
        "$Recycle.Bin/e.png",
    )
    assert names(find_images([tmp_path]), tmp_path) == ["a.jfif", "b/d.png"]
    assert names(find_images([tmp_path / "**/*.png"]), tmp_path) == ["b/d.png"]
    assert names(find_images([tmp_path / "*"]), tmp_path) == ["a.jfif", "b/d.png"]
    # Named, it is meant.
    for named in ("b/#RECYCLE", "b/#RECYCLE/*.png", "**/#RECYCLE/*.png"):
        assert names(find_images([tmp_path / named]), tmp_path) == ["b/#RECYCLE/c.png"]


def test_a_pattern_that_is_the_name_of_a_folder_says_how_to_write_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "a[1]/disc/1.png", "predictions/2.png")
    for pattern, written in (
        (Path("a[1]/disc/*.png"), Path("a[[]1]/disc/*.png")),
        (tmp_path / "a[1]/*/*.png", tmp_path / "a[[]1]/*/*.png"),
    ):
        with pytest.raises(InputError) as refused:
            find_images([pattern], Path("predictions"))
        assert str(refused.value) == (
            f"{pattern} matches no file: a[1] in it is read as a pattern, and there is a folder of "
            f"this very name: for that write {written}"
        )
        assert names(find_images([written.absolute()]), tmp_path) == ["a[1]/disc/1.png"]
    with pytest.raises(
        InputError, match=r"b\[1\]/\*\.png matches no file: name files, folders, or"
    ):
        find_images([Path("b[1]/*.png")], Path("predictions"))
