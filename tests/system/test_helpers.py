import threading

import pytest

from xtcav_ml.system.helpers import Helpers

SOON = 60  # seconds in which a thread has surely started


def test_parts_are_done_at_the_same_time_and_each_once():
    helpers, together, done = Helpers(3), threading.Barrier(3, timeout=SOON), []

    def do(part):
        together.wait()
        done.append(part)

    helpers.share(do, 3)
    assert sorted(done) == [0, 1, 2]
    done.clear()
    helpers.share(done.append, 100)
    assert sorted(done) == [*range(100)]


@pytest.mark.parametrize(("threads", "count"), [(1, 4), (3, 1), (3, 0)])
def test_no_thread_is_asked_that_has_nothing_to_do(threads, count):
    helpers, done = Helpers(threads), []
    helpers.share(lambda part: done.append((part, threading.current_thread())), count)
    assert done == [(part, threading.main_thread()) for part in range(count)]


def test_a_helper_that_has_no_time_is_not_waited_for():
    helpers, free, done = Helpers(2), threading.Event(), []
    busy = helpers._pool.submit(free.wait, SOON)
    helpers.share(done.append, 5)
    assert done == [*range(5)]
    assert not busy.done()
    free.set()


def test_an_error_is_raised_when_no_part_is_being_done_any_more():
    helpers, begun, ended = Helpers(2), threading.Event(), []

    def do(part):
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(SOON)
            raise KeyboardInterrupt
        begun.set()
        ended.append(part)

    with pytest.raises(KeyboardInterrupt):
        helpers.share(do, 10_000_000)
    assert len(ended) < 9_999_999
    before = len(ended)
    assert threading.Event().wait(0.05) is False
    assert len(ended) == before


def test_an_error_of_a_helper_is_raised():
    helpers, together = Helpers(2), threading.Barrier(2, timeout=SOON)

    def do(part):
        together.wait()
        if threading.current_thread() is not threading.main_thread():
            raise ValueError(part)

    with pytest.raises(ValueError, match=r"[01]"):
        helpers.share(do, 2)
