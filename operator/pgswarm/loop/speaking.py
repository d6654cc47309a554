"""A person's own word to the webhooks: that a drill begins or has ended, or just to see whether they hear.

It is tried once and at once, by the operator that is asked, whichever acts: who says it waits for what comes of it.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from pgswarm.core.base import Message
from pgswarm.loop.noticing import Noticing
from pgswarm.ports import door
from pgswarm.ports.door import Call, Handler, Reply


class Spoken(Message):
    """What is asked for."""

    kind: Literal["test", "drill-started", "drill-ended"] = "test"
    cluster: str = ""
    text: str = Field(default="a test: nothing has happened", max_length=400)


def handler(noticing: Noticing, operator: str, secret: str) -> Handler:
    """POST /notice of an operator."""

    async def answered(call: Call) -> Reply:
        if not call.is_authorized(secret):
            return door.refusal(401, "the control secret is missing or wrong")
        spoken = door.parsed(call, Spoken)
        if isinstance(spoken, Reply):
            return spoken
        notice = noticing.spoken(spoken.cluster, spoken.kind, spoken.text, operator)
        return Reply(body=json.dumps({"id": notice.id, "webhooks": await noticing.try_out(notice)}))

    return answered
