"""A developer's shop keeps its secrets, and does not start on ports that are in use."""

import socket
import stat
from pathlib import Path

import pytest
from devtools.run_all import Folder, check_free, main
from devtools.stack import Ports, StackError, free_ports


def test_secrets_are_generated_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "shop")

    made = folder.kept_secrets()

    assert folder.kept_secrets() == made
    assert len(made["JWT_SECRET"]) >= 32
    assert stat.S_IMODE(folder.secrets.stat().st_mode) == 0o600
    assert Folder(tmp_path / "other").kept_secrets() != made


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    ports = free_ports()["order"]
    check_free({"order": ports})
    with (
        socket.create_server(("127.0.0.1", ports.grpc)),
        pytest.raises(StackError, match=f"port {ports.grpc} of order"),
    ):
        check_free({"order": Ports(ports.http, ports.grpc, ports.metrics)})


def test_an_unknown_service_is_refused_with_the_list_of_services(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["migrate", "--service", "gateway"])

    assert "choose from" in capsys.readouterr().err
