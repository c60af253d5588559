"""The call in progress: what it inherits, how long it may take, whom its end concerns."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.context import (
    ANONYMOUS,
    Call,
    Identity,
    Origin,
    StepMark,
    current,
    current_or_none,
    entered,
    root,
)


def below(parent: Call | None, *, deadline: float | None = None) -> Call:
    origin = Origin(ANONYMOUS) if parent is None else parent.origin
    return Call(parent, origin, "/a.v1.A/M", "a", "b", deadline, (("key", "value"),))


class TestTheCurrentCall:
    def test_is_the_innermost_one_that_was_entered(self) -> None:
        outer, inner = root(), root()

        assert current_or_none() is None
        with entered(outer):
            with entered(inner):
                assert current() is inner
            assert current() is outer
        assert current_or_none() is None

    def test_is_left_when_the_block_fails(self) -> None:
        with pytest.raises(KeyError), entered(root()):
            raise KeyError

        assert current_or_none() is None

    def test_may_be_entered_again_inside_itself(self) -> None:
        call = root()

        with entered(call), entered(call), entered(below(call)):
            assert current() is not call
        assert current_or_none() is None

    def test_outside_any_call_is_a_fresh_one_for_nobody(self) -> None:
        call = current()

        assert call.identity is ANONYMOUS
        assert not call.identity.signed_in
        assert call.deadline is None
        assert call is not current()

    def test_belongs_to_its_thread(self) -> None:
        with entered(root()), ThreadPoolExecutor(1) as pool:
            assert pool.submit(current_or_none).result() is None


class TestACall:
    def test_inherits_step_and_transaction_from_the_one_above(self) -> None:
        above = root(module="orders")
        above.step = StepMark("orders", "key")
        above.transaction = object()

        call = below(above)

        assert call.step is above.step
        assert call.transaction is above.transaction
        assert (root().step, root().transaction) == (None, None)

    def test_tells_what_it_was_made_with(self) -> None:
        origin = Origin(Identity("ann", frozenset({"admin"})), "req", "0" * 31 + "1")
        call = Call(None, origin, "/a.v1.A/M", "a", "b", None, (("key", "value"),))

        assert (call.identity.subject, call.identity.signed_in) == ("ann", True)
        assert (call.request_id, call.trace_id) == ("req", "0" * 31 + "1")
        assert (call.method, call.module, call.caller) == ("/a.v1.A/M", "a", "b")
        assert call.invocation_metadata() == (("key", "value"),)
        assert call.peer() == "inproc:b"
        assert call.peer_identities() is None
        assert call.peer_identity_key() is None
        assert call.auth_context() == {}

    def test_is_active_until_its_deadline(self) -> None:
        now = time.monotonic()

        assert below(None).is_active()
        assert below(None).time_remaining() is None
        assert below(None, deadline=now + 60).is_active()
        late = below(None, deadline=now - 1)
        assert not late.is_active()
        assert late.time_remaining() == 0

    def test_is_over_once(self) -> None:
        call, called = below(None), []
        call.add_callback(lambda: called.append(1))

        call.finish()
        call.finish()

        assert called == [1]
        assert not call.is_active()
        assert not call.add_callback(print)

    def test_that_is_cancelled_takes_those_of_its_thread_with_it(self) -> None:
        outer = below(None)
        inner = below(below(outer))

        outer.cancel()

        assert not inner.is_active()

    def test_that_is_cancelled_leaves_those_above_alone(self) -> None:
        outer = below(None)
        inner = below(outer)

        inner.cancel()

        assert outer.is_active()
        assert not inner.is_active()

    def test_that_is_cancelled_cancels_what_it_has_under_way(self) -> None:
        class Ongoing:
            cancelled = threading.Event()

            def cancel_from_above(self) -> None:
                self.cancelled.set()

        call, before, after = below(None), Ongoing(), Ongoing()
        call.line.has_under_way(before)
        call.cancel()
        assert before.cancelled.is_set()

        after.cancelled = threading.Event()
        call.line.has_under_way(after)
        assert after.cancelled.is_set()

    def test_calls_back_when_it_is_cancelled_and_not_again(self) -> None:
        call, called = below(None), []
        call.add_callback(lambda: called.append(1))

        call.cancel()
        call.finish()

        assert called == [1]

    def test_sends_no_headers_to_nobody(self) -> None:
        call = below(None)
        call.cancel()

        with pytest.raises(grpc.RpcError):
            call.send_initial_metadata((("key", "value"),))


class TestAnOrigin:
    def test_draws_ids_that_stay_and_differ(self) -> None:
        origins = [Origin(ANONYMOUS) for _ in range(1000)]

        assert len({each.request_id for each in origins}) == 1000
        assert len({each.trace_id for each in origins}) == 1000
        assert all(each.request_id == each.request_id for each in origins)
        assert {len(each.trace_id) for each in origins} == {32}

    @given(st.text(min_size=1), st.text(alphabet="0123456789abcdef", min_size=32, max_size=32))
    def test_keeps_the_ids_that_it_is_given(self, request_id: str, trace_id: str) -> None:
        origin = Origin(ANONYMOUS, request_id, trace_id, "span")

        assert (origin.request_id, origin.trace_id) == (request_id, trace_id)
        assert origin.span_id == "span"

    def test_draws_only_what_it_is_not_given(self) -> None:
        assert Origin(ANONYMOUS, "mine").request_id == "mine"
        assert len(Origin(ANONYMOUS, "mine").trace_id) == 32

    def test_is_the_same_for_all_threads(self) -> None:
        origin = Origin.fresh()

        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda _: (origin.request_id, origin.trace_id), range(200)))

        assert len(ids) == 1
