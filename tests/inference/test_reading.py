import threading

import pytest

from torchcaps.inference.reading import read_ahead


def test_results_come_in_order_and_only_so_many_are_waiting():
    begun, lock = [0], threading.Lock()

    def note(item):
        with lock:
            begun[0] += 1
        return item * item

    taken = 0
    for result in read_ahead(note, range(100), most=8):
        assert result == taken * taken
        taken += 1
        assert begun[0] <= taken + 8
    assert taken == 100


def test_an_error_comes_out_and_nothing_is_left_running():
    def fail(item):
        raise MemoryError(item)

    before = threading.active_count()
    with pytest.raises(MemoryError):
        list(read_ahead(fail, range(1000), most=8))
    assert threading.active_count() == before
