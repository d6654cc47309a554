"""The simulator: a whole site in virtual time, with the real decisions in it.

    python -m pgswarm.sim --seeds 1000        many histories, what they met, and which of them went wrong
    python -m pgswarm.sim --seed 17 --logs    one of them, told

What is real: `core` (plan, duty, memory, routing, all of it), the operator's `loop` (House, Worker, Lookout, Hands,
Peers, Listing, Clockwork, Watches, unchanged anyio code), `ports.agents.Watch`, `render`, and the agent's `Hearing`.
What is transcribed step by step, because the real one speaks SQL or HAProxy: the agent (`agent`, `acting`, `reigning`),
the router's shell (`router`). What is played: PostgreSQL, Swarm, the network, disks, clients.

    clock       virtual time: a loop, processes with clocks of their own, jobs
    network     links that cut, delay, repeat · speech: streams · calls: requests
    volume      what outlives processes · postgres: the database as availability feels it · streaming: its walsenders
    container   a member's container · agent: its agent · answering: what comes in · telling: what goes out
    acting      an agent's actions · reigning: a primary's duties · neighbours: what it does about the others
    leave       a primary's grant and the kernel's timer, members' consent · aside: log kept before it is rewound
    swarm       store, nodes · tasks: what runs where · tenancy: the store of the tenure
    manager     how one operator meets all that
    operator    the real House as a process
    router      routing · client: who writes
    ledger      the onlooker: S1-S7 · losses: what may be missing, because the record or a person says so
    site        all of it put together · founding: how it begins
    faults      what goes wrong, by name and by chance · wishes: what people ask for
    edits       what people do to the document meanwhile · hands: what they do to its members
    history     a seed's course, and L1, L2 · run: many of them
    play        the vocabulary of scenarios · mutants: histories with a rule undone
    transcript  the story
    model/      beside all this: every state of a small world, explored

**To write a scenario** see `play`: a function in `tests/sim/scenarios/`, with its reviewed story beside it.
**To undo a rule** see `mutants`: an entry in `tests/sim/mutants.py`.
**A bug that a seed shows** becomes a scenario before it is mended.

Everything that happens by chance is drawn from the seed (`Site.rng`); nothing reads a real clock, and no thread takes
part. So a seed is a history: it replays to the letter, whatever the hash seed of the interpreter.
"""
