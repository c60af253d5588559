"""Calls between processes in the clear: passports alone tell who calls, and keep outsiders out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from portico.clock import ManualClock, SystemClock
from portico.context import Identity, StepMark, entered, root
from portico.errors import StatusError, unauthenticated
from portico.rpc.policy import Policy
from portico.rpc.status import from_rpc_error
from portico.security.passport import PASSPORT_KEY, Passports
from tests.portico.security.callee import OTHER, PACKAGE, SECRET, SERVICE, tell

if TYPE_CHECKING:
    from tests.portico.security.conftest import Ask, Serve

pytestmark = pytest.mark.usefixtures("quiet")

ANN = Identity("usr_ann", frozenset({"admin", "customer"}))


GUESSED = Passports(b"guessed" * 5, clock=SystemClock())


def authenticate(header: str) -> Identity:
    if header == "expired":
        raise unauthenticated("TOKEN_EXPIRED", "the token has expired")
    return Identity(header)


def refusal(ask: Ask, *arguments: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(StatusError) as caught:
        ask(*arguments, **options)
    assert caught.value.domain == PACKAGE
    return caught.value.code().name, caught.value.reason


class TestWhatArrives:
    def test_is_the_calling_module_its_user_and_its_request(self, serve: Serve, ask: Ask) -> None:
        address = serve().address
        with entered(root(module="orders", identity=ANN)) as call:
            told = ask(address)

        assert (told["caller"], told["subject"]) == ("orders", "usr_ann")
        assert told["roles"] == ["admin", "customer"]
        assert (told["request_id"], told["trace_id"]) == (call.request_id, call.trace_id)

    def test_is_nobody_where_no_user_asks(self, serve: Serve, ask: Ask) -> None:
        told = ask(serve().address)

        assert (told["caller"], told["subject"], told["step"]) == ("orders", "", None)

    def test_is_the_workflow_step(self, serve: Serve, ask: Ask) -> None:
        call = root(module="orders")
        call.step = StepMark("orders", "ord_1/charge", trying=True)
        with entered(call):
            assert ask(serve().address)["step"] == ["orders", "ord_1/charge", True]

    @pytest.mark.parametrize("other", [{"future": True}, {"method": "Collect"}])
    def test_is_no_step_for_what_runs_beside_it(
        self, serve: Serve, ask: Ask, other: dict[str, Any]
    ) -> None:
        call = root(module="orders")
        call.step = StepMark("orders", "ord_1/charge")
        with entered(call):
            assert ask(serve().address, **other)["step"] is None

    @pytest.mark.parametrize("method", ["Tell", "Follow", "Collect"])
    def test_does_not_show_the_passport_itself(self, serve: Serve, ask: Ask, method: str) -> None:
        told = ask(serve().address, method, metadata=(("x-own", "1"),))

        assert told["caller"] == "orders"
        assert "x-own" in told["keys"]
        assert PASSPORT_KEY not in told["keys"]

    def test_gives_the_user_the_rights_of_his_roles(self, serve: Serve, ask: Ask) -> None:
        address = serve().address
        with entered(root(identity=ANN)):
            assert ask(address, "TellAdmins")["subject"] == "usr_ann"
        with entered(root(identity=Identity("usr_bob", frozenset({"customer"})))):
            assert refusal(ask, address, "TellAdmins") == ("PERMISSION_DENIED", "ROLE_REQUIRED")


class TestATokenThatTheCallersCodeSends:
    def test_speaks_for_another_user(self, serve: Serve, ask: Ask) -> None:
        address = serve(policy=Policy(authenticate=authenticate)).address
        with entered(root(identity=ANN)):
            told = ask(address, metadata=(("authorization", "usr_bob"),))

        assert (told["caller"], told["subject"]) == ("orders", "usr_bob")

    def test_leaves_nobody_when_it_is_not_good(self, serve: Serve, ask: Ask) -> None:
        address = serve(policy=Policy(authenticate=authenticate)).address
        stale = (("authorization", "expired"),)
        with entered(root(identity=ANN)):
            assert ask(address, "TellAnybody", metadata=stale)["subject"] == ""
            assert refusal(ask, address, metadata=stale) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


class TestWhoeverHasNoPassport:
    def test_is_outside(self, serve: Serve, ask: Ask) -> None:
        address = serve().address

        assert ask(address, "TellAnybody", caller="")["caller"] == ""
        for method in ("Tell", "Charge", "Collect", "Follow"):
            found = refusal(ask, address, method, caller="")
            assert found == ("PERMISSION_DENIED", "INTERNAL_METHOD")

    def test_is_outside_for_a_plain_client_too(self, serve: Serve) -> None:
        with (
            grpc.insecure_channel(serve().address) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            tell(channel, f"/{SERVICE}/Tell")

        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


class TestAPassportIsRefused:
    INVALID = ("UNAUTHENTICATED", "PASSPORT_INVALID")

    @pytest.mark.parametrize("method", ["Tell", "TellAnybody", "Charge", "Collect", "Follow"])
    def test_with_a_wrong_secret(self, serve: Serve, ask: Ask, method: str) -> None:
        assert refusal(ask, serve().address, method, passports=GUESSED) == self.INVALID

    def test_when_it_is_stale(self, serve: Serve, ask: Ask) -> None:
        past = ManualClock(SystemClock().now())
        address = serve(clock=past).address
        behind = Passports(SECRET, clock=ManualClock(past.now()))
        assert ask(address, passports=behind)["caller"] == "orders"
        past.advance(seconds=31)

        assert refusal(ask, address, passports=behind) == self.INVALID

    def test_when_it_is_for_another_service(self, serve: Serve) -> None:
        stolen = Passports(SECRET, clock=SystemClock()).issue("orders", None, OTHER)

        assert self._sent(serve().address, stolen) == "UNAUTHENTICATED"

    def test_when_it_was_changed(self, serve: Serve) -> None:
        issued = Passports(SECRET, clock=SystemClock()).issue("orders", root(identity=ANN), SERVICE)
        address = serve().address

        assert self._sent(address, issued) == "usr_ann"
        for changed in (issued.replace("usr_ann", "usr_bob"), issued[:-1], "x", f"{issued}0"):
            assert self._sent(address, changed) == "UNAUTHENTICATED"
        assert self._sent(address, "") == "PERMISSION_DENIED"

    def _sent(self, address: str, passport: str) -> str:
        """The user whom a plain client with ``passport`` is taken for, or the code of its refusal."""
        with grpc.insecure_channel(address) as channel:
            try:
                told = tell(channel, f"/{SERVICE}/Tell", ((PASSPORT_KEY, passport),))
            except grpc.RpcError as failure:
                return from_rpc_error(failure).code().name
        return str(told["subject"])

    def test_when_it_is_a_clients_that_somebody_hands_on(self, serve: Serve, ask: Ask) -> None:
        address = serve().address
        issued = Passports(SECRET, clock=SystemClock()).issue("orders", None, SERVICE)
        headers = (PASSPORT_KEY, issued), ("x-own", "1")

        assert refusal(ask, address, caller="", metadata=headers)[1] == "INTERNAL_METHOD"
        assert "x-own" in ask(address, "TellAnybody", caller="", metadata=headers)["keys"]

    @pytest.mark.parametrize("token", ["usr_bob", "expired"])
    def test_whatever_token_comes_with_it(self, serve: Serve, ask: Ask, token: str) -> None:
        address = serve(policy=Policy(authenticate=authenticate)).address
        header = (("authorization", token),)

        assert refusal(ask, address, passports=GUESSED, metadata=header) == self.INVALID

    def test_from_a_module_that_does_not_require_the_service(self, serve: Serve, ask: Ask) -> None:
        address = serve().address

        assert ask(address, f"/{OTHER}/Tell", caller="catalog")["caller"] == "catalog"
        for method in ("Tell", "TellAnybody", "Follow", "Collect"):
            found = refusal(ask, address, method, caller="catalog")
            assert found == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")


def test_a_server_for_clients_takes_no_passports(serve: Serve, ask: Ask) -> None:
    address = serve(with_hops=False).address
    told = ask(address, "TellAnybody")

    assert (told["caller"], PASSPORT_KEY in told["keys"]) == ("", False)
    assert refusal(ask, address) == ("PERMISSION_DENIED", "INTERNAL_METHOD")


class TestACommand:
    OUTSIDE = ("INTERNAL", "COMMAND_OUTSIDE_WORKFLOW")

    def _in_step(self, module: str) -> Any:
        call = root(module="orders")
        call.step = StepMark(module, "ord_1/charge")
        return entered(call)

    def test_is_answered_in_a_step_of_its_caller(self, serve: Serve, ask: Ask) -> None:
        address = serve(policy=Policy(commands_need_workflow=True)).address
        with self._in_step("orders"):
            assert ask(address, "Charge", needs_workflow=True)["caller"] == "orders"

    @pytest.mark.parametrize("told_first", [True, False], ids=["by its caller", "by its callee"])
    def test_is_refused_outside_a_step(self, serve: Serve, ask: Ask, told_first: bool) -> None:
        address = serve(policy=Policy(commands_need_workflow=True)).address
        known = {"method": "Charge", "needs_workflow": told_first}

        assert refusal(ask, address, **known) == self.OUTSIDE
        with self._in_step("catalog"):
            assert refusal(ask, address, **known) == self.OUTSIDE
        with self._in_step("orders"):
            assert refusal(ask, address, **known, future=True) == self.OUTSIDE
            assert refusal(ask, address, "Collect", needs_workflow=told_first) == self.OUTSIDE

    def test_is_refused_before_the_network_is_touched(self, ask: Ask) -> None:
        nowhere: Any = {"address": "127.0.0.1:1", "method": "Charge", "needs_workflow": True}

        assert refusal(ask, **nowhere) == self.OUTSIDE
        with self._in_step("catalog"):
            assert refusal(ask, **nowhere) == self.OUTSIDE
        with self._in_step("orders"):
            assert refusal(ask, **nowhere, future=True) == self.OUTSIDE

    def test_of_the_kernel_needs_no_step(self, ask: Ask) -> None:
        with pytest.raises(StatusError) as caught:
            ask("127.0.0.1:1", "/portico.planted.v1.X/Command", needs_workflow=True)

        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # so it was sent


class TestACallInsideATransaction:
    @pytest.mark.parametrize("method", ["Tell", "TellAnybody", "Charge", "Collect", "Follow"])
    def test_never_leaves_the_process(self, serve: Serve, ask: Ask, method: str) -> None:
        address = serve().address
        call = root(module="orders")
        call.transaction = object()
        with entered(call), pytest.raises(StatusError) as caught:
            ask(address, method)

        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.reason == "CALL_INSIDE_TRANSACTION"
        assert caught.value.metadata == {"caller": "orders", "service": SERVICE}
        assert f"module orders called /{SERVICE}/{method}" in caught.value.message

    def test_does_after_its_end(self, serve: Serve, ask: Ask) -> None:
        address = serve().address
        call = root(module="orders")
        call.transaction = object()
        with entered(call):
            call.transaction = None
            assert ask(address)["caller"] == "orders"
