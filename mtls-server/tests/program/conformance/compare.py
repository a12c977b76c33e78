"""Runs the same conversations with two servers, and prints each difference."""

import sys

# How often a conversation is repeated whose outcomes differ: some depend on how the bytes arrive.
REPEATS = 4


def compare(cases, ours, plain, explain):
    """`cases` has a name and a function of a server's address for each conversation. The exit status.

    `explain` has functions of a conversation's name and both outcomes, whose documentation is the reason of
    the differences for which they hold. Each must hold for one at least.
    """
    unexplained, outcomes, explained = 0, set(), {reason: [] for reason in explain}
    for name, converse in cases:
        one, other = outcome(name, converse, ours), outcome(name, converse, plain)
        outcomes.add(str(one))
        if one == other:
            continue
        reason = next((reason for reason in explain if reason(name, one, other)), None)
        if reason:
            explained[reason].append(name)
        elif differ(name, converse, ours, plain, {str(one)}, {str(other)}):
            unexplained += 1
            print(f"different: {name}\n    this server:  {one}\n    plain server: {other}")
    for reason, names in explained.items():
        print(f"{len(names)} explained differences: {' '.join(reason.__doc__.split())}")
    print(f"{len(cases)} conversations, {len(outcomes)} outcomes, {unexplained} differences without a reason")
    return 1 if unexplained or not all(explained.values()) else 0


def differ(name, converse, ours, plain, ones, others):
    """Whether the servers have no outcome in common, after some repetitions."""
    for _ in range(REPEATS):
        ones.add(str(outcome(name, converse, ours)))
        others.add(str(outcome(name, converse, plain)))
        if ones & others:
            return False
    return True


def outcome(name, converse, address):
    """A fault of the script must not look like an equal outcome."""
    try:
        return converse(address)
    except Exception:
        print(f"the script failed in {name!r}", file=sys.stderr)
        raise


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)
