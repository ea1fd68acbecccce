"""The errors of the plugin. Each message is one line that says what happened, to what, and what to do."""

from __future__ import annotations

import re


class PluginError(Exception):
    """The root of the plugin's own errors."""


class NoKubectlError(PluginError):
    """There is no kubectl to run."""


class KubectlError(PluginError):
    """kubectl has failed."""


class NotFoundError(KubectlError):
    """The object does not exist."""


class NoSuchKindError(KubectlError):
    """The cluster does not serve a kind."""


class KubectlTimeoutError(KubectlError):
    """`kubectl wait` timed out."""


class ForbiddenError(KubectlError):
    """The caller may not do this."""


class UnreachableError(KubectlError):
    """The cluster does not answer, or not now."""


class InterruptedCommandError(PluginError):
    """The user has pressed Ctrl-C while a command was at work. The message says what goes on."""


class NoSuchShopError(PluginError):
    """There is no shop of that name, or it is not clear which one is meant."""


class NoSuchTenantError(PluginError):
    """There is no tenant of that name."""


class NothingToDoError(PluginError):
    """The shop is not in a state in which the command does anything."""


class BackupFailedError(PluginError):
    """A backup or a restore has not succeeded: it has failed, cannot begin, or takes too long."""


class UsageError(PluginError):
    """The arguments contradict each other or the shop."""


def from_kubectl(stderr: str) -> KubectlError:
    """Returns the error that the standard error of kubectl reports, with what to do about it."""
    printed = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in printed if not _COMMAND_ENDED.match(line) and not _SEE_HELP.match(line)]
    text = lines[-1] if lines else "kubectl failed and said nothing"
    if any(map(_COMMAND_ENDED.match, printed)):
        return KubectlError(_plain(text))  # kubectl itself has done its work
    for pattern, kind, advice in _CAUSES:
        if re.search(pattern, stderr):
            return kind(f"{_plain(text)} {advice}".rstrip())
    return KubectlError(_plain(text))


def _plain(text: str) -> str:
    sentence = re.sub(r"^(error: |Error from server \(\w+\): |Error in configuration: )", "", text).rstrip(".: ")
    return sentence if sentence.endswith("?") else f"{sentence}."


_COMMAND_ENDED = re.compile("command terminated with exit code")
"""The line that `kubectl exec` adds below what the command itself has said."""
_SEE_HELP = re.compile("See '.*--help' for usage")
"""The line that kubectl adds below an error of its arguments."""

_CAUSES: tuple[tuple[str, type[KubectlError], str], ...] = (
    (
        r"context .*(does not exist|not found)",
        KubectlError,
        "List the contexts with kubectl config get-contexts.",
    ),
    (
        r"resource type|could not find the requested resource|no matches for kind",
        NoSuchKindError,
        "Install the operator in this cluster (helm install ecommerce-operator charts/operator), or name another "
        "cluster with --context.",
    ),
    (r"\(NotFound\)", NotFoundError, ""),
    (r"timed out waiting for the condition|condition not met", KubectlTimeoutError, ""),
    (
        r"\(Forbidden\)",
        ForbiddenError,
        "Ask an administrator of the cluster for this right, or name another user with --context.",
    ),
    (
        r"\(Unauthorized\)|must be logged in",
        KubectlError,
        "Log in to the cluster again, or name another user with --context.",
    ),
    (
        r"connection to the server|Unable to connect|no such host|no route to host|network is unreachable|i/o timeout"
        r"|handshake timeout|connection (refused|reset|lost)|client connection lost|\bEOF$|etcdserver"
        r"|\((ServiceUnavailable|InternalError|Timeout|ServerTimeout|TooManyRequests)\)",
        UnreachableError,
        "Check that the cluster runs with kubectl cluster-info, or name another one with --context.",
    ),
)
"""What kubectl says about a failure, and what to do. The first that matches counts."""
