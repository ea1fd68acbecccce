"""What to do about a condition: one entry for each reason of the operator that is not fine. Pure.

The reasons are those of `platform_operator.api.conditions`; a test compares both. `docs/operations.md` has the long
form of each entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPERATOR_NAMESPACE = "ecommerce-system"
"""The namespace in which docs/operations.md installs the operator."""
STORES = ("StatefulSet", "Cluster", "RabbitmqCluster")
"""Kinds of the objects that run a store."""


@dataclass(frozen=True)
class Runbook:
    """What to do about a condition with a reason, the next command, and the section of docs/operations.md."""

    advice: str
    command: str
    """A template: `namespace` and `name` of the shop, `kind` and `object` of what blocks it, `service` that breaks an
    invariant."""
    section: str = "when-something-is-wrong"
    waits: bool = False
    """True if the operator goes on by itself: nothing has to be done yet."""
    needs: tuple[str, ...] = ()
    """Kinds of the blocked object that the command names. Without such an object the shop is described instead."""


FINE = frozenset(
    {
        "AllReady",
        "Stable",
        "Healthy",
        "NoFieldFight",
        "UpToDate",
        "AllHold",
        "Rotated",
        "MailServerSet",
        "Awake",
        "Open",
        "BackedUp",
        "NotRestoring",
    }
)
"""Reasons that need nothing."""

_DESCRIBE = "kubectl -n {namespace} describe ecp {name}"
_DESCRIBE_OBJECT = "kubectl -n {namespace} describe {kind} {object}"
_EDIT = "kubectl -n {namespace} edit ecp {name}"
_WATCH = "kubectl -n {namespace} get ecp {name} --watch"
_BACKUPS = "kubectl -n {namespace} get platformbackups,jobs -l app.kubernetes.io/part-of=ecommerce-backups"
_BACKUP = "back-up-with-the-operator"
_RESTORES = "kubectl -n {namespace} get platformrestores"
_RESTORE = "restore-with-the-operator"
_RETRY = "kubectl ecommerce retry {name} -n {namespace}"
_MASTER_KEY = f"kubectl -n {OPERATOR_NAMESPACE} get secret ecommerce-operator-master-key"
_OPERATOR_LOG = f"kubectl -n {OPERATOR_NAMESPACE} logs deployment/ecommerce-operator"
_PODS = "kubectl -n {namespace} get pods -l app.kubernetes.io/instance={name},app.kubernetes.io/component="
_SERVICE_LOG = "kubectl -n {namespace} logs deployment/{name}-{service}"

UNKNOWN = Runbook("The operator is newer than this plugin: read its message.", _DESCRIBE)
"""The entry of a reason that the plugin does not know."""

RUNBOOKS: Mapping[str, Runbook] = {
    # the operator is at work
    "Applying": Runbook("Wait: the operator applies objects.", _WATCH, waits=True),
    "WaitingForStores": Runbook(
        "Wait: the stores start. If it takes minutes, look at the one that blocks.",
        _DESCRIBE_OBJECT,
        waits=True,
        needs=STORES,
    ),
    "Migrating": Runbook(
        "Wait: the databases are migrated.",
        "kubectl -n {namespace} logs job/{object}",
        "upgrade-one-shop",
        waits=True,
        needs=("Job",),
    ),
    "WaitingForServices": Runbook(
        "Wait: pods start. If it takes minutes, look at the service that blocks.",
        _DESCRIBE_OBJECT,
        waits=True,
        needs=("Deployment",),
    ),
    "WaitingForGateway": Runbook(
        "Wait: the pods of the gateway are replaced.", _DESCRIBE_OBJECT, waits=True, needs=("Deployment",)
    ),
    "RequestFailed": Runbook(
        "Wait: the operator sends the request again. The message has the API server's response, often a webhook's.",
        _DESCRIBE,
        waits=True,
    ),
    "ObservingStep": Runbook(
        "Wait: a step of the upgrade is observed before the next one begins.", _WATCH, "upgrade-one-shop", waits=True
    ),
    "RollingOut": Runbook("Wait: a release is rolled out.", _WATCH, "upgrade-one-shop", waits=True),
    "RollingBack": Runbook(
        "Wait: an upgrade has failed, and the shop goes back to the version before.",
        _WATCH,
        "upgrade-one-shop",
        waits=True,
    ),
    "Hibernating": Runbook("Wait: the pods are being stopped.", _WATCH, "hibernate-a-shop", waits=True),
    "Waking": Runbook("Wait: the shop is being started.", _WATCH, "hibernate-a-shop", waits=True),
    "Closing": Runbook("Wait: the pods of the services are being stopped.", _WATCH, "close-a-shop", waits=True),
    "Opening": Runbook("Wait: the services are being started.", _WATCH, "close-a-shop", waits=True),
    "Restoring": Runbook("Wait: the databases of the shop are being replaced.", _RESTORES, _RESTORE, waits=True),
    "Reopening": Runbook("Wait: the restored shop is being opened.", _RESTORES, _RESTORE, waits=True),
    "RestoreFailed": Runbook("Do what the message of the PlatformRestore says.", _RESTORES, _RESTORE),
    "RestoreIncomplete": Runbook(
        "The databases of the shop may be inconsistent: do not open it, but create another PlatformRestore.",
        _RESTORES,
        _RESTORE,
    ),
    "OutsideMaintenance": Runbook(
        "Wait for the hours of spec.maintenance, or set spec.version to upgrade now.",
        "kubectl -n {namespace} get ecp {name} -o jsonpath='{{.spec.maintenance}}'",
        "upgrade-many-shops",
        waits=True,
    ),
    "WaitingForCanary": Runbook(
        "Wait: another shop gets the release first.", "kubectl ecommerce status -A", "upgrade-many-shops", waits=True
    ),
    "WaitingForTurn": Runbook(
        "Wait: other shops are upgraded before this one.",
        "kubectl ecommerce status -A",
        "upgrade-many-shops",
        waits=True,
    ),
    "Rotating": Runbook(
        "Wait: credentials are rotated in steps, and the shop serves in each of them.",
        "kubectl -n {namespace} get ecp {name} -o jsonpath='{{.status.rotation}}'",
        "rotate-credentials",
        waits=True,
    ),
    "NotScraped": Runbook(
        "Wait: the operator reads the figures of the services every 30 seconds.",
        "kubectl ecommerce invariants {name} -n {namespace}",
        "business-invariants-in-the-status",
        waits=True,
    ),
    # a person has to act
    "Observing": Runbook(
        "The shop is observed: look at what would be changed, and resume it.",
        "kubectl ecommerce diff {name} -n {namespace}",
        "change-a-shop",
    ),
    "Hibernated": Runbook(
        "The shop has no pods, and keeps its data: wake it.",
        "kubectl ecommerce wake {name} -n {namespace}",
        "hibernate-a-shop",
    ),
    "Closed": Runbook(
        "The services have no pods, and the stores run: open the shop.",
        """kubectl patch ecp {name} -n {namespace} --type merge --patch '{{"spec": {{"closed": false}}}}'""",
        "close-a-shop",
    ),
    "InvalidSpec": Runbook("Correct the field that the message names.", _EDIT),
    "RenderFailed": Runbook("Correct the field of the spec that the message names.", _EDIT),
    "Refused": Runbook(
        "Correct the spec, grant the right or the quota, or install the add-on that the message names.", _DESCRIBE
    ),
    "ImmutableField": Runbook(
        "Expand the volumes as the message says, or take the change of the spec back.",
        "kubectl -n {namespace} get pvc -l app.kubernetes.io/instance={name}",
    ),
    "InternalError": Runbook("Nothing for the shop: report the message with the operator's log.", _OPERATOR_LOG),
    "MigrationFailed": Runbook(
        "Read why the migration fails. It runs again by itself, and at once when its Job is deleted.",
        "kubectl -n {namespace} logs job/{object}",
        needs=("Job",),
    ),
    "DataLost": Runbook(
        "Restore the database from a backup, or accept its loss, with the commands in the message.",
        "kubectl -n {namespace} get pvc -l app.kubernetes.io/instance={name}",
        "restore-a-lost-database",
    ),
    "SecretMissing": Runbook(
        "Create the Secret, or its key, as the message says.", "kubectl -n {namespace} get secrets"
    ),
    "QuotaExceeded": Runbook(
        "Raise the quota of the namespace, or lower resources in the spec.",
        "kubectl -n {namespace} describe resourcequota",
    ),
    "RolloutFailed": Runbook(
        "Find out why pods do not become ready, and correct the spec.",
        _DESCRIBE_OBJECT,
        needs=("Deployment", "Job", *STORES),
    ),
    "ProgressDeadlineExceeded": Runbook(
        "Find out why pods do not become ready. For a store, correct the spec and then delete its pod.",
        _DESCRIBE_OBJECT,
        needs=("Deployment", "Job", *STORES),
    ),
    "NameConflict": Runbook(
        "Rename or delete the object of the other owner, or give it to the shop with the command in the message.",
        "kubectl -n {namespace} get {kind} {object} -o yaml --show-managed-fields",
        "objects-that-exist-before-the-shop",
        needs=("*",),
    ),
    "PruneHeld": Runbook(
        "Find out why the charts no longer render these objects; the message has the command that lets them go.",
        "kubectl ecommerce diff {name} -n {namespace}",
    ),
    "MasterKeyMissing": Runbook("Restore the Secret with the master key from its backup.", _MASTER_KEY),
    "MasterKeyChanged": Runbook("Restore the former Secret with the master key from its backup.", _MASTER_KEY),
    "TakenAgain": Runbook(
        "Stop the other writer that the message names, or set its field in the spec.",
        "kubectl -n {namespace} events --for ecommerceplatform/{name}",
    ),
    "UpgradesHalted": Runbook(
        "The release has failed on the shop that the message names: look at that one.",
        "kubectl ecommerce status -A",
        "upgrade-many-shops",
    ),
    "ShopDegraded": Runbook(
        "Resolve what Degraded says, or set spec.version to upgrade nevertheless.", _DESCRIBE, "upgrade-many-shops"
    ),
    "RolledBack": Runbook(
        "The upgrade has failed and was undone: correct the cause, and try again.", _RETRY, "upgrade-one-shop"
    ),
    "RollbackFailed": Runbook(
        "Remove what blocks: the rollback then goes on.",
        _DESCRIBE_OBJECT,
        "upgrade-one-shop",
        needs=("Job", "Deployment", *STORES),
    ),
    "UpgradeStopped": Runbook(
        "Correct the cause and try again, or install the former operator.", _RETRY, "upgrade-one-shop"
    ),
    "InvariantBroken": Runbook(
        "A bug in the platform: if it gets worse with every order, stop selling. The log has the first of the rows.",
        _SERVICE_LOG + " | grep 'an invariant is broken'",
        "invariantbroken",
    ),
    "EventsDelayed": Runbook("No event is lost: restore the broker.", _PODS + "rabbitmq", "eventsdelayed"),
    "DeadLetters": Runbook(
        "Fix why the handler failed, then put the events back into their queue.",
        "kubectl -n {namespace} logs -l app.kubernetes.io/instance={name} --tail=-1 --prefix | "
        "grep -E 'event (failed|refused)'",
        "deadletters",
    ),
    "Unreachable": Runbook(
        "Check that the service has a ready pod, and that no NetworkPolicy shuts the operator out.",
        _PODS + "{service}",
        "business-invariants-in-the-status",
    ),
    "NotChecked": Runbook(
        "The database of the service may be unavailable: read its log.",
        _SERVICE_LOG,
        "business-invariants-in-the-status",
    ),
    "NotExported": Runbook(
        "Set spec.version to a version that exports the invariants.", _EDIT, "business-invariants-in-the-status"
    ),
    "LimitExceeded": Runbook(
        "See which image the Deployment runs: it may not be the platform's.",
        "kubectl -n {namespace} get deployment {name}-{service} -o yaml",
    ),
    "UntrustedProxy": Runbook(
        "Name the namespace of the ingress controller in spec.ingress.proxyNamespaces.",
        "kubectl -n {namespace} get ingress,service {name}-gateway",
        "business-invariants-in-the-status",
    ),
    "RotationRefused": Runbook(
        "Correct the annotation, or delete the Secret that is not the operator's, as the message says.",
        "kubectl -n {namespace} get ecp {name} -o jsonpath='{{.metadata.annotations}}'",
        "rotate-credentials",
    ),
    "RotationWaits": Runbook(
        "Wait for the rotations of the shops that the message names, or do what it says.",
        "kubectl -n {namespace} get ecp {name} -o jsonpath='{{.status.rotation}}'",
        "rotate-the-master-key",
    ),
    "NoMailServer": Runbook(
        "Set spec.notifications.smtp if the shop is to send mails.", _EDIT, "business-invariants-in-the-status"
    ),
    "NoBackupYet": Runbook("Wait for the first backup, or take one now: kubectl ecommerce backup.", _BACKUPS, _BACKUP),
    "BackupFailed": Runbook(
        "Do what the message says, then take a backup: kubectl ecommerce backup.", _BACKUPS, _BACKUP
    ),
    "BackupTooOld": Runbook("See why the CronJob starts no Jobs, or how they end.", _BACKUPS, _BACKUP),
    "VerificationFailed": Runbook(
        "Take a new backup if the newest one is damaged; else do what the message says.", _BACKUPS, _BACKUP
    ),
    "BackupsNotScheduled": Runbook("Correct spec.backup as the message says.", _EDIT, _BACKUP),
}
