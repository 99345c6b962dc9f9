"""Migrations that the release before can live with: it reads and writes while a site deploys the next one."""

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

FIRST = "0001_log"  # before which there was no release


def is_harmless(operation: Operation) -> bool:
    """Tells that code which knows nothing of this operation reads and writes as it did.

    A new column may be null or has a default of the database's, for the older code leaves it out of its INSERTs.
    """
    if isinstance(operation, migrations.AddField):
        field = operation.field
        return field.many_to_many or field.null or field.db_default is not models.NOT_PROVIDED
    if isinstance(operation, migrations.AlterField):  # a constraint of the database's may go, and nothing else
        field = operation.field
        return isinstance(field, models.ForeignKey) and field.null and not field.db_constraint
    if isinstance(operation, migrations.RemoveConstraint):
        return operation.name in REPLACED
    if isinstance(operation, migrations.AddConstraint):  # which refuses nothing that was not refused before
        return any(REPLACED[name].issubset(operation.constraint.fields) for name in REPLACED)
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        return all(map(is_harmless, operation.database_operations))
    return isinstance(operation, HARMLESS)


HARMLESS = (
    migrations.CreateModel,
    migrations.AddIndex,
    migrations.RemoveIndex,
    migrations.RenameIndex,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
)
# Constraints for weaker ones of the same fields and more: what the release before relies on is still refused.
REPLACED = {"broadcast_one_ref_per_author": {"group", "ref", "source", "author"}}
A_COLUMN = models.IntegerField()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (migrations.AddField("message", "kind", A_COLUMN), False),
        (migrations.AddField("message", "kind", models.IntegerField(default=0)), False),
        (migrations.AddField("message", "kind", models.IntegerField(null=True)), True),
        (migrations.AddField("message", "kind", models.IntegerField(db_default=0)), True),
        (migrations.AddField("message", "readers", models.ManyToManyField("broadcast.Group")), True),
        (migrations.CreateModel("Entry", [("kind", A_COLUMN)]), True),
        (migrations.AlterField("message", "kind", A_COLUMN), False),
        (migrations.AlterField("message", "user", models.ForeignKey("auth.User", models.CASCADE, null=True)), False),
        (migrations.RemoveField("message", "data"), False),
        (migrations.RemoveConstraint("message", "broadcast_one_offset"), False),
        (migrations.AddConstraint("message", models.UniqueConstraint(fields=["ref"], name="one")), False),
        (migrations.RenameField("message", "data", "payload"), False),
        (migrations.SeparateDatabaseAndState([migrations.RemoveField("message", "data")]), False),
        (migrations.SeparateDatabaseAndState([], [migrations.RemoveField("message", "data")]), True),
    ],
)
def test_what_the_release_before_can_live_with(operation: Operation, expected: bool) -> None:
    assert is_harmless(operation) == expected


def test_every_migration_after_the_first_is_one_that_the_release_before_can_live_with() -> None:
    found = MigrationLoader(None).disk_migrations
    ours = {name: migration for (app, name), migration in found.items() if app == "broadcast"}
    del ours[FIRST]
    harmful = {
        f"{name}: {operation.describe()}"
        for name, migration in ours.items()
        for operation in migration.operations
        if not is_harmless(operation)
    }
    assert harmful == set(), (
        "Make new columns nullable or give them db_default, take nothing away, or show here why it does no harm"
    )
