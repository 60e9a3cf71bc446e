"""The folder of a run: who may begin in it, and what is tidied."""

import threading
import time

from tests.small_runs import tiny_config
from torchcaps.errors import InputError
from torchcaps.training.run_folder import RunFolder


def test_of_two_runs_that_begin_at_once_in_one_folder_one_is_refused(tmp_path, monkeypatch):
    tidy = RunFolder.tidy

    def slowly(folder):
        time.sleep(0.2)
        tidy(folder)

    monkeypatch.setattr(RunFolder, "tidy", slowly)
    answers = []

    def begin():
        try:
            answers.append(RunFolder.create(tiny_config(tmp_path / "run"), "tiny").path)
        except InputError as error:
            answers.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = f"{tmp_path / 'run'} already holds a run: continue it with --resume {tmp_path / 'run'}, "
    refused = f"{said}or name another folder with --out"
    assert sorted(map(str, answers)) == sorted([str(tmp_path / "run"), refused, refused])


def test_a_link_among_what_is_tidied_is_removed_and_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / ".partial-x").symlink_to(tmp_path / "precious")
    (folder.path / ".partial-y").symlink_to("gone")
    folder.tidy()
    assert (tmp_path / "precious" / "file").exists()
    assert [path.name for path in folder.path.iterdir()] == ["checkpoints"]
    assert not list(folder.checkpoints.iterdir())
