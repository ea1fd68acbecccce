"""The scripts in hack use a machine and its Docker engine as promised, and leave resources of others alone."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

_HACK = Path(__file__).parents[2]
_ROOT = _HACK.parent
_RECORDING_COMMAND = """#!/bin/bash
echo "${{0##*/}} $*" >> {calls}
case "$*" in {cases}
esac
"""


class Machine:
    """A machine whose commands only record their calls: none reaches an engine or a cluster. By default a command
    succeeds and prints nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._commands, self._calls = folder / "bin", folder / "calls"
        self._commands.mkdir()
        self._environment = {
            "PATH": f"{self._commands}:{os.environ['PATH']}",
            "HOST_TOOLS": str(self._commands),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        for command in ("docker", "kind", "kubectl", "helm"):
            self.replace_command(command)

    def replace_command(self, command: str, **answers: str) -> None:
        """Replaces a command. `answers` has shell commands by a word of the arguments."""
        cases = "".join(f"\n*{word}*) {answer} ;;" for word, answer in answers.items())
        script = self._commands / command
        script.write_text(_RECORDING_COMMAND.format(calls=shlex.quote(str(self._calls)), cases=cases))
        script.chmod(0o755)

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command, environment = [str(_HACK / script), *arguments], self._environment | variables
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def was_called(self, what: str) -> bool:
        return self.calls(what) > 0

    @property
    def path_of_the_system(self) -> str:
        """The recording commands and those of the system, without what else is installed on this machine."""
        return f"{self._commands}:/usr/bin:/bin"

    def recorded(self, what: str) -> list[str]:
        """Returns the calls that contain a text."""
        return [call for call in self._calls.read_text().splitlines() if what in call]

    def calls(self, what: str) -> int:
        """Returns how many calls contain a text."""
        return len(self.recorded(what))


class ComposeShop:
    """The secrets of a running shop of compose: those in .env, or with --prod the files of a folder."""

    VARIABLES = ("JWT_SECRET", "JWT_SECRET_NEXT", "JWT_SECRET_PREVIOUS")

    def __init__(self, machine: Machine, folder: Path, options: tuple[str, ...]) -> None:
        self._machine, self._options = machine, options
        self._env, self._secrets = folder / "shop.env", folder / "secrets"
        machine.replace_command("docker", quiet="echo 4f2a")
        if options:
            self._run("secrets")
        else:
            self._env.write_text("# the key\nJWT_SECRET=" + "a&\\1" * 8 + "\nADMIN_PASSWORD=b c\n")

    def rotate(self) -> None:
        self._run("rotate", *self._options)

    def signing_secrets(self) -> tuple[str, str, str]:
        """Returns the current, the next and the previous one."""
        current, next_, previous = (self._content().get(variable, "") for variable in self.VARIABLES)
        return current, next_, previous

    def other_content(self) -> dict[str, str]:
        return {name: value for name, value in self._content().items() if name not in self.VARIABLES}

    def write_secrets(self, *values: str) -> None:
        given = dict(zip(self.VARIABLES, values, strict=True))
        if not self._options:
            self._env.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        for name, value in given.items() if self._options else ():
            (self._secrets / name.lower()).write_text(f"{value}\n")

    def _content(self) -> dict[str, str]:
        if self._options:
            return {file.name.upper(): file.read_text().rstrip("\n") for file in self._secrets.iterdir()}
        lines = (line.partition("=") for line in self._env.read_text().splitlines())
        return {name: value for name, _, value in lines}

    def _run(self, *arguments: str) -> None:
        done = self._machine.run("compose/compose", *arguments, ENV_FILE=str(self._env), SECRETS=str(self._secrets))
        assert done.returncode == 0, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_down_removes_the_registry_that_up_created(machine: Machine) -> None:
    machine.replace_command("docker", Labels="echo registry")

    assert machine.run("cluster/down").returncode == 0
    assert machine.was_called("docker rm --force --volumes kind-registry")


def test_down_leaves_a_registry_of_the_same_name_that_it_did_not_create(machine: Machine) -> None:
    done = machine.run("cluster/down")

    assert done.returncode == 0
    assert not machine.was_called("docker rm --force --volumes kind-registry")
    assert "kind-registry stays" in done.stdout


def test_the_registry_is_created_with_the_label_that_down_looks_for(machine: Machine) -> None:
    machine.replace_command("docker", container="exit 1")

    assert machine.run("cluster/local-registry").returncode == 0
    assert machine.was_called("--label ecommerce-platform=registry")


def test_an_existing_registry_on_port_5001_is_used(machine: Machine) -> None:
    machine.replace_command("docker", PortBindings="""echo '{"5000/tcp":[{"HostIp":"127.0.0.1","HostPort":"5001"}]}'""")

    assert machine.run("cluster/local-registry").returncode == 0
    assert machine.was_called("docker start kind-registry")
    assert not machine.was_called("docker run")


def test_an_existing_registry_on_another_port_is_refused_with_advice(machine: Machine) -> None:
    done = machine.run("cluster/local-registry")

    assert done.returncode == 1
    assert "docker rename kind-registry" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not machine.was_called("docker start")


def test_compose_down_removes_the_containers_of_all_profiles(machine: Machine) -> None:
    assert machine.run("compose/compose", "down").returncode == 0
    assert machine.was_called("--profile * down --volumes")


@pytest.mark.parametrize(
    "script", ["cluster/up", "compose/test-env", "compose/compose", "cluster/down", "images/build-images"]
)
def test_a_machine_without_linux_is_refused_in_one_line(machine: Machine, script: str) -> None:
    machine.replace_command("uname", s="echo Darwin")

    done = machine.run(script, "--no-operator")

    assert done.returncode == 1
    assert "Linux" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", ["cluster/install-cnpg", "cluster/install-rabbitmq-operator"])
@pytest.mark.parametrize("arguments", [("--removee",), ("remove",), ("--remove", "now")])
def test_an_add_on_is_not_installed_by_a_mistyped_option(
    machine: Machine, script: str, arguments: tuple[str, ...]
) -> None:
    machine.replace_command("go", list="echo v1.0.0")

    done = machine.run(script, *arguments)

    assert done.returncode == 1
    assert done.stderr == f"unknown arguments: {' '.join(arguments)} (see {script.rpartition('/')[2]} --help)\n"


@pytest.mark.parametrize("script", ["cluster/install-cnpg", "cluster/install-rabbitmq-operator"])
def test_an_add_on_asks_for_go_in_one_line(machine: Machine, script: str) -> None:
    done = machine.run(script, PATH=machine.path_of_the_system)

    assert done.returncode == 1
    assert done.stderr == "there is no Go to read the manifest from its module with: install Go 1.26\n"


def test_images_are_pushed_to_the_given_registry(machine: Machine) -> None:
    machine.replace_command("docker", manifest="exit 1", bake="env | grep ^REGISTRY=")

    done = machine.run("images/build-images", "--to", "registry.example.com/shop", "operator")

    assert done.returncode == 0
    assert "REGISTRY=registry.example.com/shop" in done.stdout
    assert machine.was_called("docker push --quiet registry.example.com/shop/ecommerce/operator:")


def test_attested_images_are_built_and_pushed_with_sbom_and_provenance(machine: Machine) -> None:
    machine.replace_command("docker", SBOM="[[ $* != */order:* ]] || echo '{\"SPDX\": {}}'", inspect="exit 1")

    done = machine.run("images/build-images", "--attest", "--to", "registry.example.com/shop", "order", "operator")

    assert done.returncode == 0, done.stderr
    assert machine.was_called("buildx create --name ecommerce-attest --driver docker-container")
    (bake,) = machine.recorded("buildx bake")
    assert "--set *.output=type=registry --sbom=true --provenance=mode=max" in bake
    assert bake.endswith(" operator"), "order is in the registry, with an SBOM"
    assert not machine.was_called("docker push")


def test_attested_images_are_signed_by_their_digests(machine: Machine) -> None:
    machine.replace_command("docker", SBOM="echo '{\"SPDX\": {}}'", Digest="echo sha256:1234")
    machine.replace_command("cosign")
    to = ("--attest", "--to", "registry.example.com:5000/shop", "order")

    assert machine.run("images/build-images", *to).returncode == 0
    assert not machine.was_called("cosign"), "there is no key"

    assert machine.run("images/build-images", *to, COSIGN_KEY="cosign.key").returncode == 0
    assert machine.recorded("cosign") == [
        "cosign sign --yes --key cosign.key registry.example.com:5000/shop/ecommerce/order@sha256:1234"
    ]
    assert not machine.was_called("bake")


def test_images_cannot_be_attested_without_a_registry_or_signed_without_cosign(machine: Machine) -> None:
    to = ("--to", "registry.example.com/shop", "order")
    for arguments, variables, advice in (
        (("order",), {}, "--attest needs --to"),
        (to, {"COSIGN_KEY": "k", "PATH": machine.path_of_the_system}, "no cosign on PATH"),
    ):
        done = machine.run("images/build-images", "--attest", *arguments, **variables)
        assert (done.returncode, advice in done.stderr) == (1, True), done.stderr


def test_a_stand_in_image_is_rebuilt_when_its_recipe_changes(machine: Machine) -> None:
    machine.replace_command("docker", recipe="echo of-before")

    assert machine.run("images/store-images").returncode == 0
    assert machine.was_called("docker build -q -f")


def test_current_stand_in_images_and_official_images_are_not_rebuilt(machine: Machine) -> None:
    summed = ["bash", "-c", "cat stores/* | sha256sum | cut -c 1-12"]
    recipe = subprocess.run(summed, check=True, capture_output=True, text=True, cwd=_HACK / "images").stdout.strip()
    machine.replace_command("docker", recipe=f"[[ $* == *redis* ]] || echo {recipe}")

    assert machine.run("images/store-images").returncode == 0
    assert not machine.was_called("docker build")


def test_only_images_that_the_registry_lacks_are_pushed(machine: Machine) -> None:
    pushed_before = 'name=${@: -1}; [[ $name == redis* ]] || echo "[\\"localhost:5001/library/${name%:*}@sha256:1\\"]"'
    machine.replace_command("docker", RepoDigests=pushed_before)

    assert machine.run("images/store-images", "--push").returncode == 0
    assert machine.was_called("docker push -q localhost:5001/library/redis:8")
    assert not machine.was_called("docker push -q localhost:5001/library/postgres:17")


def test_compose_writes_every_secret_that_compose_prod_mounts(machine: Machine, tmp_path: Path) -> None:
    class Loader(yaml.SafeLoader):
        """Reads `!reset` as nothing."""

    Loader.add_constructor("!reset", lambda *_: None)
    mounted = yaml.load((_ROOT / "compose.prod.yaml").read_text(), Loader)["secrets"]  # noqa: S506 - a SafeLoader

    assert machine.run("compose/compose", "secrets", SECRETS=str(tmp_path / "secrets")).returncode == 0
    assert {file.name for file in (tmp_path / "secrets").iterdir()} == set(mounted)


@pytest.mark.parametrize("options", [(), ("--prod",)], ids=["env", "prod"])
def test_compose_rotates_the_signing_secret_in_three_steps_with_an_overlap(
    machine: Machine, tmp_path: Path, options: tuple[str, ...]
) -> None:
    shop = ComposeShop(machine, tmp_path, options)
    old, untouched = shop.signing_secrets()[0], shop.other_content()

    shop.rotate()
    current, new, previous = shop.signing_secrets()
    assert (current, previous) == (old, "")
    assert len(new) >= 32
    shop.rotate()
    assert shop.signing_secrets() == (new, "", old)
    shop.rotate()
    assert shop.signing_secrets() == (new, "", "")
    assert shop.other_content() == untouched
    assert machine.calls("--force-recreate") == 3, "the user service is restarted at each step"


@pytest.mark.parametrize("options", [(), ("--prod",)], ids=["env", "prod"])
@pytest.mark.parametrize("written", ["previous", "previous and current"])
def test_a_rotation_that_was_interrupted_continues_without_losing_the_former_secret(
    machine: Machine, tmp_path: Path, options: tuple[str, ...], written: str
) -> None:
    shop = ComposeShop(machine, tmp_path, options)
    shop.rotate()
    old, new, _ = shop.signing_secrets()
    shop.write_secrets(old if written == "previous" else new, new, old)

    shop.rotate()

    assert shop.signing_secrets() == (new, "", old)


def test_the_stripe_mock_image_has_the_version_of_its_go_module(machine: Machine) -> None:
    _, _, version = machine.run("compose/stripe-mock").stdout.strip().partition(":")

    module = (_HACK / "cluster/toolchain/stripe-mock/go.mod").read_text()
    assert f"require github.com/stripe/stripe-mock {version}" in module.splitlines()


def test_charts_build_puts_the_dependencies_of_every_chart_in_place(tmp_path: Path) -> None:
    shutil.copytree(_ROOT / "charts", tmp_path / "charts", ignore=shutil.ignore_patterns("charts", "tests"))
    shutil.copytree(_ROOT / "manifests/observability/rules", tmp_path / "manifests/observability/rules")
    (tmp_path / "charts/order/charts/removed").mkdir(parents=True)

    subprocess.run([tmp_path / "charts/build"], check=True, capture_output=True)

    for description in (tmp_path / "charts").glob("*/Chart.yaml"):
        dependencies = yaml.safe_load(description.read_text()).get("dependencies", [])
        sources = {dependency["repository"].removeprefix("file://../") for dependency in dependencies}
        assert {folder.name for folder in description.parent.glob("charts/*")} == sources, description


def test_a_port_in_use_is_named_with_its_process_before_anything_is_built(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        done = machine.run("cluster/up", HTTP_PORT=str(port))

    assert done.returncode == 1
    assert f"port {port} is used by {_process_name()} (process {os.getpid()})" in done.stdout
    assert f"HTTP_PORT={port + 1000} make up" in done.stdout
    assert not machine.was_called("docker build")
    assert not machine.was_called("kind create")


def test_a_port_of_the_projects_own_cluster_is_no_conflict(machine: Machine) -> None:
    machine.replace_command("docker", publish="echo ecommerce-control-plane")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = machine.run("cluster/free-ports", f"{listener.getsockname()[1]}:HTTP_PORT")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_port_that_docker_keeps_for_a_container_it_restarts_is_no_conflict(machine: Machine) -> None:
    machine.replace_command("docker", all="echo ecommerce-control-plane")
    with _docker_proxy() as port:
        done = machine.run("cluster/free-ports", f"{port}:HTTP_PORT")

    assert (done.returncode, done.stderr) == (0, "")


def test_an_engine_that_does_not_say_who_uses_a_port_is_not_taken_for_another_process(machine: Machine) -> None:
    machine.replace_command("docker", ps="echo no engine answers >&2; exit 1")
    with _docker_proxy() as port:
        done = machine.run("cluster/free-ports", f"{port}:HTTP_PORT")

    assert done.returncode == 1
    assert done.stderr.strip() == f"port {port} is used, and docker ps does not say by what: no engine answers"


@contextmanager
def _docker_proxy() -> Iterator[int]:
    """Runs a process of this name that listens, as the engine does for a published port; yields the port."""
    listen = """
import socket
from pathlib import Path

Path("/proc/self/comm").write_text("docker-proxy")
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    input()
"""
    command = [sys.executable, "-c", listen]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.communicate("\n")


def _process_name() -> str:
    return Path("/proc/self/comm").read_text().strip()
