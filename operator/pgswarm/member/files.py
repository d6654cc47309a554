"""PostgreSQL's configuration files in the agent's own folder, kept as a whole and written anew at every change.

What is in them is known here and nowhere read back: the sync setting, the upstream, whether clients are let in, the
document's parameters. `postgresql.auto.conf` in PGDATA (which a clone or a rewind brings along from its source) is
emptied before every start. The document's settings come here only after `tuning` has had them tried: a wrong one would
be noticed only at the next start, which might be in the middle of a failover.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pgswarm.core.disk import Room
from pgswarm.core.orders import Settings
from pgswarm.member import state
from pgswarm.member.config import Config, secret, system_user
from pgswarm.render import postgres as render


class Files:
    """The configuration as it is on disk."""

    def __init__(self, config: Config, major: int, slot_keep: str) -> None:
        self._config = config
        conf = config.conf
        self._wanted = render.Configuration(
            major=major,
            port=config.postgres_port,
            listen=config.postgres_listen,
            socket_dir=str(config.socket_dir),
            hba_file=str(conf / "pg_hba.conf"),
            ident_file=str(conf / "pg_ident.conf"),
            slot_keep=slot_keep,
            slot=render.slot_name(config.member),
            statements=config.has_library("pg_stat_statements"),
        )
        self._open = True
        self._rules: tuple[str, ...] = ()
        self.digest = ""

    @property
    def sync(self) -> str:
        return self._wanted.sync

    def lay_out(self, *, sync: str, open_to_clients: bool, upstream: str = "") -> None:
        """Everything that a start needs."""
        self._wanted = replace(self._wanted, sync=sync, upstream=upstream, is_calm=False)
        self._open = open_to_clients
        self._write_hba()
        self._put(self._config.conf / "pg_ident.conf", render.ident(system_user()))
        self._write()
        self.put_back()

    def put_back(self) -> None:
        """Empty what ALTER SYSTEM has written: it would have the last word."""
        (self._config.pgdata / "postgresql.auto.conf").write_text("# pgswarm keeps its settings elsewhere\n")

    def set_sync(self, setting: str) -> None:
        self._wanted = replace(self._wanted, sync=setting)
        self._write()

    def set_upstream(self, address: str, name: str) -> None:
        """Let a standby stream from there."""
        self._put(self._config.passfile, render.pgpass(secret(self._config.replication_password_file)))
        self._wanted = replace(self._wanted, upstream=self.upstream(address, name), is_calm=False)
        self._write()

    def clear_upstream(self) -> None:
        """Let no stream begin any more: the password goes first."""
        self._config.passfile.unlink(missing_ok=True)
        self._wanted = replace(self._wanted, upstream="", is_calm=False)
        self._write()

    def be_calm(self) -> None:
        """The log has come to its end and nobody is followed."""
        self._wanted = replace(self._wanted, is_calm=True)
        self._write()

    @property
    def read_only(self) -> bool:
        return self._wanted.read_only

    def save_room(self, room: Room, *, read_only: bool) -> bool:
        """Be as sparing as the room on the volume asks for; was anything written? (A reload is the caller's.)"""
        wanted = replace(self._wanted, room=room, read_only=read_only)
        if wanted == self._wanted:
            return False
        before, self._wanted = self._wanted, wanted
        if render.sparing(before) == render.sparing(wanted):
            return False
        self._write()
        return True

    def upstream(self, address: str, name: str) -> str:
        port, passfile = self._config.postgres_port, str(self._config.passfile)
        return render.upstream(address=address, port=port, passfile=passfile, name=name)

    def doors(self, *, open_to_clients: bool) -> bool:
        """Write pg_hba.conf; did it change? (A reload is the caller's.)"""
        if self._open == open_to_clients:
            return False
        self._open = open_to_clients
        self._write_hba()
        return True

    def candidate(self, settings: Settings) -> render.Configuration:
        """The configuration with these settings, to be tried."""
        return replace(self._wanted, parameters=dict(settings.parameters))

    @property
    def is_floored(self) -> bool:
        return render.is_floored(self._wanted)

    def demanded(self) -> dict[str, int]:
        """What the document and the defaults ask for of the parameters that hot standby compares."""
        return render.demanded(self._wanted)

    def set_floors(self, floors: Mapping[str, int]) -> bool:
        """Have at least this much from the next writing on; is that a change of what is to be written?"""
        before, self._wanted = self._wanted, replace(self._wanted, floors=dict(floors))
        return render.configuration(before) != render.configuration(self._wanted)

    def take(self, settings: Settings) -> None:
        """Have these settings from the next writing on; they were tried before."""
        self._wanted, self._rules, self.digest = self.candidate(settings), settings.hba, settings.digest

    def rewrite(self) -> None:
        self._write_hba()
        self._write()

    def _write_hba(self) -> None:
        self._put(self._config.conf / "pg_hba.conf", render.hba(open_to_clients=self._open, rules=self._rules))

    def _write(self) -> None:
        self._put(self._config.conf / "postgresql.conf", render.configuration(self._wanted))

    def _put(self, path: Path, text: str) -> None:
        state.write(path, text, reserve=self._config.reserve)
