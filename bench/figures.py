"""The figures: their keys in the JSON, their titles in the table, their units."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    key: str
    title: str
    unit: str
    digits: int = 1


@dataclass(frozen=True)
class Section:
    """A table: some figures under one heading, of so many connections or whatever it counts."""

    title: str
    figures: tuple[Figure, ...]
    counts: str = "connection"
    has_spread: bool = False  # beside each median the least and the most, where there are several rounds


def counted(size: int, what: str) -> str:
    return f"{size:,} {what}" if size == 1 else f"{size:,} {what}s"


SECTIONS = (
    Section(
        "One message to all, until the last client has it",
        (
            Figure("one", "ephemeral", "ms"),
            Figure("one_cpu", "processor, per delivery", "µs"),
            Figure("one_client", "load client, per delivery", "µs"),
            Figure("one_durable", "durable", "ms"),
            Figure("one_durable_cpu", "processor, per delivery", "µs"),
        ),
    ),
    Section(
        "Fifty messages to all, until the last client has the last one",
        (
            Figure("burst", "ephemeral, at once", "ms"),
            Figure("burst_cpu", "processor, per delivery", "µs", 2),
            Figure("burst_client", "load client, per delivery", "µs", 2),
            Figure("burst_durable", "durable, at once", "ms"),
            Figure("loop", "ephemeral, in a loop", "ms"),
            Figure("loop_durable", "durable, in a loop", "ms"),
        ),
    ),
    Section(
        "Each in two groups: one message to all, and fifty in a loop",
        (
            Figure("two_one", "one", "ms"),
            Figure("two_one_cpu", "processor, per delivery", "µs"),
            Figure("two_loop", "fifty", "ms"),
            Figure("two_loop_cpu", "processor, per delivery", "µs", 2),
        ),
    ),
    Section(
        "Fifty messages of 1 KB to all but a hundred: fifty that read nothing, and fifty slow ones",
        (
            Figure("slow_alone", "without the hundred", "ms"),
            Figure("slow_beside", "beside them", "ms"),
        ),
    ),
    Section(
        "Connections",
        (
            Figure("connect", "connect, elapsed", "ms", 2),
            Figure("connect_cpu", "connect, processor", "ms", 2),
            Figure("memory", "memory of one", "KiB"),
        ),
    ),
    Section(
        "Coming back after a drop",
        (
            Figure("reconnect", "all connect plain", "ms", 0),
            Figure("resume", "all resume", "ms", 0),
            Figure("resume_ratio", "resume / plain", "", 2),
            Figure("resume_queries", "queries per client", "", 3),
        ),
    ),
    Section(
        "Messages per second",
        (
            Figure("relay", "relayed from 200 clients", "/s", 0),
            Figure("relay_cpu", "processor, per message", "µs", 0),
            Figure("publish_one", "send() in a loop", "/s", 0),
            Figure("publish_threads", "send() in 16 threads", "/s", 0),
            Figure("publish_together", "send_many() of 100", "/s", 0),
        ),
        counts="listener",
    ),
    Section(
        "From one process to another, 20 messages a second",
        (
            Figure("latency", "median", "ms"),
            Figure("latency_p99", "99th percentile", "ms"),
        ),
    ),
    Section("Idle, connections in three groups", (Figure("idle", "processor", "% of a core", 2),)),
    Section(
        "Clients that do not read",
        (
            Figure("p99_without", "99th percentile without a slow client", "ms"),
            Figure("p99_with", "with one", "ms"),
            Figure("growth_without", "server grew by, without", "MiB"),
            Figure("growth_with", "with one", "MiB"),
            Figure("slow_resets", "resets when it reads on", "", 0),
            Figure("all_slow", "all slow: memory of one", "KiB"),
        ),
    ),
    Section(
        "A client that floods, until it is closed or has sent everything",
        (
            Figure("flood_messages", "messages: server grew by", "MiB"),
            Figure("flood_messages_taken", "taken", "MB"),
            Figure("flood_fragments", "one endless message: by", "MiB"),
            Figure("flood_fragments_taken", "taken", "MB"),
        ),
    ),
    Section(
        "Readers who come, and come back to a hundred messages",
        (
            Figure("readers_cpu", "come, processor", "ms", 2),
            Figure("readers", "come, elapsed", "ms", 2),
            Figure("readers_resume_cpu", "come back, processor", "ms", 2),
            Figure("readers_resume", "come back, elapsed", "ms", 2),
            Figure("readers_memory", "memory of one", "KiB"),
        ),
        counts="reader",
        has_spread=True,
    ),
    Section(
        "Queries of a reader, of the app and of sessions and users",
        (
            Figure("readers_new_queries", "who comes", "", 3),
            Figure("readers_back_queries", "who comes back to another process", "", 3),
            Figure("readers_resume_queries", "to a hundred messages", "", 3),
        ),
        counts="reader",
    ),
    Section("Idle readers", (Figure("readers_idle", "processor", "% of a core", 2),), counts="reader", has_spread=True),
    Section(
        "Readers of a process that was killed arrive at another",
        (
            Figure("storm", "all are back", "s"),
            Figure("storm_cpu", "processor, each", "ms", 2),
            Figure("storm_page", "the slowest page", "ms", 0),
            Figure("storm_live", "the slowest live message", "ms", 0),
        ),
        counts="reader",
        has_spread=True,
    ),
    Section(
        "Rights lost without a signal, until the reader is sent away",
        (
            Figure("rights_median", "median", "s"),
            Figure("rights", "the longest", "s"),
            Figure("rights_cpu", "processor meanwhile", "% of a core"),
        ),
        counts="reader",
        has_spread=True,
    ),
    Section(
        "Idle, connections that follow quiet groups",
        (
            Figure("quiet_few", "a hundred groups", "% of a core", 2),
            Figure("quiet_many", "ten thousand", "% of a core", 2),
        ),
        has_spread=True,
    ),
    Section(
        "A page with announcements, beside the same page without",
        (
            Figure("page", "without, processor", "ms", 2),
            Figure("page_quiet", "with, nothing said: more", "ms", 2),
            Figure("page_full", "with three messages a group: more", "ms", 2),
            Figure("page_queries", "queries without", ""),
            Figure("page_quiet_queries", "with, nothing said", ""),
            Figure("page_full_queries", "with messages", ""),
        ),
        counts="reader",
        has_spread=True,
    ),
    Section(
        "From one process to the last client of another",
        (
            Figure("hint", "median", "ms"),
            Figure("hint_p99", "99th percentile", "ms"),
            Figure("hint_cpu", "processor of both, a message", "ms", 2),
        ),
        has_spread=True,
    ),
    Section(
        "Messages with refs per second",
        (
            Figure("relay_many", "relayed from 200 clients", "/s", 0),
            Figure("relay_many_cpu", "processor, per message", "µs", 0),
            Figure("relay_few", "relayed from 4 clients", "/s", 0),
            Figure("relay_few_cpu", "processor, per message", "µs", 0),
        ),
        counts="listener",
        has_spread=True,
    ),
)
