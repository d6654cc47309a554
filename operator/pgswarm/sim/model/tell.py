"""A counterexample for people: what happened, one line a move, and how everyone stood after it."""

from __future__ import annotations

from collections.abc import Iterable

from pgswarm.sim.model.moves import Move
from pgswarm.sim.model.state import BUILDING, MEMBERS, NONE, PRIMARY, Member, Rec, State

_ROLES = ("down", "fenced", "standby", "PRIMARY")


def story(trace: Iterable[Move], broken: str) -> str:
    """The whole way from rest to the fault."""
    lines = []
    for number, move in enumerate(trace, 1):
        lines.append(f"{number:3}  {_said(move.what)}")
        lines.append(f"       {_stand(move.state)}")
    return "\n".join([*lines, f"     BROKEN: {broken}"])


def _said(what: tuple[object, ...]) -> str:
    text = _plainly(what)
    return f"{text}; what it said before is still believed" if what[-1] == "believed" else text


def _plainly(what: tuple[object, ...]) -> str:
    match what:
        case ("write", Rec() as rec, reason, *_):
            return f"the record is written: {_record(rec)} [{reason}]"
        case ("wish", str() as wish, *_):
            return f"a person wishes: {wish.rstrip(':')}"
        case ("hear", int(i), Rec() as rec, *_):
            return f"{MEMBERS[i]} accepts its order of term {rec.term}, revision {rec.rev}"
        case ("promise", int(i), term, *_):
            return f"{MEMBERS[i]} promises term {term}"
        case ("duty", int(i), action, *_):
            return f"{MEMBERS[i]}: {type(action).__name__} ({getattr(action, 'reason', '')})"
        case ("commit", int(i), number, *_):
            return f"a client commits {number} on {MEMBERS[i]}"
        case ("receive", int(i), upto, *_):
            return f"{MEMBERS[i]} has flushed up to {upto}"
        case ("take up", int(i), sender, setting, *_):
            return f"the walsender on {MEMBERS[i]} for {sender} takes up {setting}"
        case ("disconnect", int(i), sender, *_):
            return f"the walsender on {MEMBERS[i]} for {sender} is gone"
        case ("flag", int(i), *_):
            return f"the checkpointer on {MEMBERS[i]} takes the setting up"
        case (text, int(i), *_):
            return f"{text}: {MEMBERS[i]}"
        case _:
            return " ".join(str(part) for part in what)


def _stand(state: State) -> str:
    members = "; ".join(_member(state, member) for member in state.members)
    return f"acknowledged {_commits(state.acked)} | {_record(state.record)} | {members}"


def _member(state: State, member: Member) -> str:
    if member.data == NONE:
        return "(no data)"
    if member.data == BUILDING:
        return f"{member.inc} is being made"
    rec = next((rec for rec in state.recs if rec.rev == member.order), None)
    order = f"order {rec.term}.{rec.rev}" if rec else "no order"
    log = ",".join(str(number) for number in member.log) or "empty"
    reign = f" of term {member.reigned}, waits for {member.setting[1:]}" if member.role == PRIMARY else ""
    return f"{member.inc} {_ROLES[member.role]}{reign}, log {log}, {order}, promised {member.promised}"


def _record(rec: Rec) -> str:
    return (
        f"{rec.term}.{rec.rev} primary {rec.primary}, {rec.r} of {','.join(rec.claim)}, "
        f"sync {f'any {rec.k} of ' + ','.join(rec.names) if rec.k else 'nobody'}"
    )


def _commits(mask: int) -> str:
    return ",".join(str(number) for number in range(mask.bit_length()) if mask >> number & 1) or "nothing"
