"""Every state of a small world, with the real decisions in it.

A history that is drawn by chance shows what is likely; this shows everything, of something smaller. The functions that
decide are the real ones (`ballot`, `switchover`, `durability`, `claim`, `wal`, `memory`, `orders`, `duty`, by way of
`plan`'s rules); the rest of the world is a few tuples, and every order of events within bounds is tried.

    state       what there is · postgres: commits, streams, settings · law: the members · operators: the deciders
    moves       what can happen next · prompt: what happens at once · canon: one form for what is the same
    invariants  what must never be · search: breadth first · tell: a counterexample in words

`make model MEMBERS=2 MINUTES=30`. Why not a model checker of the trade: decision 0009.
"""
