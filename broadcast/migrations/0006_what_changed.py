from django.db import migrations, models

import broadcast.models


class Migration(migrations.Migration):
    """Empty in the rows that are there: what a process follows it compares with the log in turn, too."""

    dependencies = [
        ("broadcast", "0005_refs_of_users_alone"),
    ]

    operations = [
        migrations.AddField(
            model_name="group",
            name="changed",
            field=broadcast.models.ChangeField(editable=False, null=True, verbose_name="changed"),
        ),
        migrations.AddIndex(
            model_name="group",
            index=models.Index(fields=["changed"], name="broadcast_changed"),
        ),
    ]
