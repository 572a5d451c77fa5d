"""The supervisor's office: who knows the key is let in, and everybody else told why not."""

import socket

import pytest

from parallel.elastic.processes.wire import Hello, Office, connected

KEY = b"known to the processes of one run"


@pytest.fixture
def office():
    made = Office(KEY, "what there is to do", ("127.0.0.2", 0), limit_s=5)
    yield made
    made.close()


def test_who_comes_is_told_what_to_do_and_heard(office):
    with connected(office.address, KEY, 5) as line:
        assert line.receive() == "what there is to do"
        line.send(Hello(3, ("127.0.0.1", 1), came=1))
        assert office.arrived.get(timeout=5)[1] == Hello(3, ("127.0.0.1", 1), came=1)
    assert office.arrived.get(timeout=5)[1] is None


def test_a_process_knows_where_it_is_reached(office):
    """By the address from which its machine reaches the supervisor."""
    assert office.address[0] == "127.0.0.2"
    with connected(office.address, KEY, 5) as line:
        assert line.host == "127.0.0.1"


def test_another_key_is_refused(office):
    with (
        pytest.raises(ValueError, match="127.0.0.2:[0-9]+ is no supervisor with this key"),
        connected(office.address, b"of another run", 5),
    ):
        pass
    assert office.arrived.empty()


def test_a_supervisor_that_does_not_answer_is_waited_for(office):
    office.close()
    with (
        pytest.raises(ConnectionError, match="no supervisor answers at 127.0.0.2:[0-9]+ within"),
        connected(office.address, KEY, 0.3),
    ):
        pass


def test_an_address_that_cannot_be_had_is_one_sentence(office):
    with pytest.raises(ValueError, match="no process can come to 127.0.0.2.*: Address already in"):
        Office(KEY, None, office.address)
    with pytest.raises(ValueError, match="192.0.2.77:0: Cannot assign requested address"):
        Office(KEY, None, ("192.0.2.77", 0))
    with pytest.raises(ValueError, match="no process can come to nowhere.invalid:0: "):
        Office(KEY, None, ("nowhere.invalid", 0))


def test_both_ends_notice_a_machine_that_acknowledges_nothing(office):
    with connected(office.address, KEY, 5) as line:
        line.receive()
        line.send(Hello(0, ("", 0), came=1))
        there, _ = office.arrived.get(timeout=5)
        for end in (line, there):
            limit = end._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit == 10_000  # milliseconds
