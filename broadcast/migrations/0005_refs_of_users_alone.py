from django.db import migrations


class Migration(migrations.Migration):
    """By itself: in one transaction with 0004 it would take a stronger lock than that has, and meet a deadlock."""

    dependencies = [
        ("broadcast", "0004_refs_of_users"),
    ]

    operations = [
        # Back again it fails where two users of one name have used one ref.
        migrations.RemoveConstraint(model_name="message", name="broadcast_one_ref_per_author"),
    ]
