"""Addresses, from the command line and from a file that changes, and which endpoint gets the next request."""

import asyncio
import os
from pathlib import Path

import pytest

from pipeline.chat import EndpointList
from pipeline.chat import endpoints as module
from pipeline.chat.endpoints import Endpoint, Endpoints
from pipeline.errors import ConfigError, EndpointSetupError

ONE, TWO, THREE = (f"http://host{n}:8000/v1" for n in (1, 2, 3))


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "file:///etc/passwd",
        "http://",
        "http://[::1/v1",
        "http://host:eighty/v1",
        "http://me:secret@host/v1",
        "http://gpu01..cluster:8000/v1",
        "http://host:8000/v1\u2013chat",
    ],
)
def test_wrong_addresses_are_refused_without_showing_a_password(url: str, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(f"{ONE}\n{url}\n")
    for given in (url, tmp_path / "urls"):
        with pytest.raises(ConfigError) as caught:
            EndpointList([given])
        assert "--url" in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_file_of_addresses_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text(f"# ours\n{TWO}/\n\n{THREE}  # slow\n{TWO}\n")
    addresses = EndpointList([ONE, file])
    assert addresses.urls == [ONE, TWO, THREE], "a slash at the end and a second mention are no other address"
    assert not addresses.refresh()
    file.write_text(THREE)
    assert addresses.refresh() and addresses.urls == [ONE, THREE]
    file.unlink()
    with pytest.raises(ConfigError, match="nor a file of addresses"):
        addresses.refresh()
    assert addresses.urls == [ONE, THREE]
    with pytest.raises(ConfigError, match="no address"):
        EndpointList([])


def test_a_bad_file_leaves_the_endpoints_as_they_were_and_those_taken_out_get_nothing_more(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text(f"{ONE}\n{TWO}\n")

    async def change() -> None:
        endpoints = Endpoints(EndpointList([file]))
        first = await endpoints.acquire()
        file.write_text("nonsense")
        endpoints.refresh()
        assert [endpoint.is_listed for endpoint in endpoints] == [True, True]
        other = THREE if first.url != THREE else TWO
        file.write_text(other)
        os.utime(file, (1, 1))
        endpoints.refresh()
        assert {endpoint.url for endpoint in endpoints if endpoint.is_listed} == {other}
        assert [(await endpoints.acquire()).url for _ in range(8)] == [other] * 8
        waiting = asyncio.create_task(endpoints.acquire())
        await asyncio.sleep(0)
        endpoints.release(first)
        await asyncio.sleep(0)
        assert not waiting.done(), "the slot of an address that is gone is nobody's"
        waiting.cancel()

    asyncio.run(change())


def test_slots_are_given_by_the_free_share_first_come_first_served() -> None:
    async def serve() -> None:
        endpoints = Endpoints(EndpointList([ONE, TWO]))
        small, large = endpoints
        small.limit.value, large.limit.value = 2.0, 6.0
        taken = [await endpoints.acquire() for _ in range(8)]
        assert (taken.count(small), taken.count(large)) == (2, 6)
        assert [endpoint is large for endpoint in taken[:4]].count(True) == 3, "in proportion from the beginning"
        waiting = [asyncio.create_task(endpoints.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        endpoints.release(large)
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True, False, False]
        waiting[1].cancel()
        await asyncio.sleep(0)
        endpoints.release(small)
        await asyncio.sleep(0)
        assert waiting[2].done(), "who has gone away takes no slot"
        assert endpoints.window == 24 and endpoints.in_flight == 8

    asyncio.run(serve())


def test_a_row_of_failures_sets_aside_and_one_request_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    endpoint = Endpoint(ONE)
    endpoint.limit.value = 5.0
    for _ in range(2):
        endpoint.failed("down")
    assert endpoint.room(clock[0]) == 5
    endpoint.lives()
    for _ in range(3):
        endpoint.failed("down")
    assert endpoint.room(clock[0]) == 0
    pauses = []
    for _ in range(12):
        pauses.append(endpoint.closed_until - clock[0])
        clock[0] = endpoint.closed_until
        assert endpoint.room(clock[0]) == 1
        endpoint.failed("still down")
    assert 0.3 < pauses[0] < 0.7 and pauses[0] < pauses[3] < 8 and all(20 < pause < 40 for pause in pauses[7:])
    clock[0] = endpoint.closed_until
    endpoint.lives()
    assert endpoint.room(clock[0]) == 5


def test_only_where_every_endpoint_refuses_is_there_no_hope() -> None:
    endpoints = Endpoints(EndpointList([ONE, TWO]))
    first, second = endpoints
    first.refuses(EndpointSetupError("HTTP 404"))
    assert endpoints.setup_error() is None
    second.refuses(EndpointSetupError("HTTP 401"))
    assert "host1:8000/v1: HTTP 404; http://host2:8000/v1: HTTP 401" in str(endpoints.setup_error())
    second.answered = 1
    assert endpoints.setup_error() is None
