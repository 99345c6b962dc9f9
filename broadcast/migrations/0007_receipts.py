import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("broadcast", "0006_what_changed"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Receipt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("group", models.CharField(max_length=80, verbose_name="group")),
                ("epoch", models.CharField(max_length=22, verbose_name="epoch")),
                ("offset", models.PositiveBigIntegerField(verbose_name="offset")),
                (
                    "kind",
                    models.CharField(
                        choices=[("read", "read up to here"), ("dismissed", "dismissed")],
                        max_length=9,
                        verbose_name="kind",
                    ),
                ),
                ("at", models.DateTimeField(verbose_name="at")),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "receipt",
                "verbose_name_plural": "receipts",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "group", "epoch", "kind", "offset"), name="broadcast_one_receipt"
                    )
                ],
            },
        ),
    ]
