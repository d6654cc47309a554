"""The lab: several Docker engines on one machine, joined to a real Swarm, and faults for them.

Read in this order: `settings` (names and addresses), `cgroups` (which process is whose), `rooms` (what a node
is made of), `network`, `rootfs`, `engine`, `nodes` and `swarm` (from a room to a Swarm node), `images`,
`status`, `cli`. Only the standard library is used: the lab must run before anything of the project is
installed.
"""
